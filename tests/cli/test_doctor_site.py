"""``bench doctor --site``: a site file against the cluster, in the doctor's words."""

from __future__ import annotations

import json
from pathlib import Path

RECORDED = Path(__file__).parents[1] / "slurm" / "recorded"
SCRIPTS = {
    "scontrol": f'case "$*" in *config*) cat {RECORDED}/config.txt;;'
    f" *) cat {RECORDED}/partitions.txt;; esac",
    "sinfo": f"cat {RECORDED}/nodes.txt",
    **dict.fromkeys(("sbatch", "squeue", "scancel", "sacct", "sacctmgr"), "exit 1"),
}


def put_commands(folder: Path, monkeypatch) -> None:
    """Put scripts that print a cluster's recorded answers first on PATH."""
    folder.mkdir()
    for name, script in SCRIPTS.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def cluster_of(outcome) -> list[tuple[str, str, str]]:
    checks = json.loads(outcome.out)["checks"]
    return [(c["name"], c["level"], c["value"]) for c in checks if c["section"] == "cluster"]


def test_a_site_that_fits_and_one_that_does_not(bench, monkeypatch, tmp_path):
    put_commands(tmp_path / "bin", monkeypatch)
    Path("fits.yaml").write_text("partition: gpu\ngpus: 1\n")
    outcome = bench("doctor", "--site", "fits.yaml", "--json")
    assert outcome.code == 0
    found = cluster_of(outcome)
    assert found[0] == ("SLURM", "ok", "trial, SLURM 22.05.8, arrays of at most 1001")
    assert ("partition gpu", "ok", "3 nodes, 1440 minutes, gpu:a100") in found
    assert found[-1] == ("site fits", "ok", "asks for nothing that is not there")

    Path("wrong.yaml").write_text("partition: gpuu\nmax_array: 5000\n")
    outcome = bench("doctor", "--site", "wrong.yaml")
    assert outcome.code == 1
    faults = [line for line in outcome.out.splitlines() if "BROKEN site wrong" in line]
    assert len(faults) == 2
    assert "max_array: 5000" in faults[0] and "Did you mean 'gpu'?" in faults[1]


def test_no_slurm_here_is_one_line_of_the_doctor(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = bench("doctor", "--site", "cpu", "--json")
    assert outcome.code == 1
    ((name, level, value),) = cluster_of(outcome)
    assert (name, level) == ("SLURM", "broken")
    assert value.startswith("no SLURM on this machine: sbatch not found")


def test_a_site_file_with_a_fault_is_wrong_usage(bench):
    Path("site.yaml").write_text("partiton: gpu\n")
    outcome = bench("doctor", "--site", "site.yaml")
    assert outcome.code == 2 and outcome.out == ""
    assert "site.yaml: unknown key 'partiton'. Did you mean 'partition'?" in outcome.line
