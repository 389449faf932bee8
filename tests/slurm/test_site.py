"""Site files: what they may say, what submitit makes of it, and what is refused."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from submitit.slurm.slurm import _make_sbatch_string

from medssl_bench.errors import BenchError
from medssl_bench.slurm.site import STAGES, Resources, Site, load_site, site_names


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def sbatch(asked: Resources, stage: str = "finetune") -> set[str]:
    """Options that submitit writes into the job's script."""
    words = {key.removeprefix("slurm_"): value for key, value in asked.submitit(stage).items()}
    text = _make_sbatch_string(command="true", folder="logs", map_count=3, **words)
    return {line.removeprefix("#SBATCH --") for line in text.splitlines() if "#SBATCH" in line}


@pytest.mark.parametrize("name", site_names())
def test_a_shipped_site_is_what_its_stages_ask_for(name):
    site = load_site(name)
    assert site.name == name
    for stage in STAGES:
        options = sbatch(site.resources(stage), stage)
        assert f"time={site.resources(stage).minutes}" in options
        gres = {option for option in options if option.startswith("gres=")}
        assert bool(gres) is (site.resources(stage).gpus_per_node > 0)


def test_every_key_reaches_the_script_of_the_job(tmp_path):
    path = write(
        tmp_path,
        """
        partition: gpu,long
        account: lab
        qos: high
        constraint: a100|h100
        exclude: node[03-05]
        nodelist: node07
        reservation: maintenance
        gres: gpu:a100:2
        cpus: 8
        memory_gb: 62.5
        minutes: 90
        signal_seconds: 300
        parallel: 2
        setup: [module load cuda, export A=1]
        srun_args: [--container-image=/images/bench.sqsh]
        comment: paper 004
        extra: {mail-type: END, exclusive_user: x, requeue: true}
        """,
    )
    asked = load_site(path).resources("finetune")
    assert sbatch(asked) >= {
        "partition=gpu,long", "account=lab", "qos=high", "constraint='a100|h100'",
        "exclude='node[03-05]'", "nodelist=node07", "reservation=maintenance", "gres=gpu:a100:2",
        "cpus-per-task=8", "mem=64000M", "time=90", "signal=USR2@300", "array=0-2%2", "nodes=1",
        "ntasks-per-node=1", "comment='paper 004'", "mail-type=END", "exclusive-user=x", "requeue",
    }  # fmt: skip
    words = asked.submitit("finetune")
    assert words["slurm_setup"] == ["module load cuda", "export A=1"]
    assert words["slurm_srun_args"] == ["--container-image=/images/bench.sqsh"]
    assert asked.gpus_per_node == 2


def test_an_empty_site_asks_for_next_to_nothing(tmp_path):
    site = load_site(write(tmp_path, "{}"))
    assert site.name == "mine"
    options = sbatch(site.resources("finetune"))
    names = {option.partition("=")[0] for option in options}
    assert names.isdisjoint({"partition", "account", "qos", "gres", "mem", "constraint"})
    assert {"cpus-per-task=1", "nodes=1", "signal=USR2@120"} <= options


def test_a_stage_overrides_what_it_names_and_nothing_else(tmp_path):
    site = load_site(
        write(
            tmp_path,
            """
            gres: gpu:a100:1
            cpus: 8
            account: lab
            extra: {mail-type: END}
            prepare: {gpus: 0, cpus: 16, account: null}
            pretrain: {gres: "gpu:a100:4", nodes: 2, minutes: 2880, extra: {exclusive: true}}
            """,
        )
    )
    prepare, pretrain, finetune = (site.resources(stage) for stage in STAGES)
    assert (prepare.gpus_per_node, prepare.cpus, prepare.account) == (0, 16, None)
    assert not any(option.startswith("gres") for option in sbatch(prepare, "prepare"))
    assert (pretrain.gpus_per_node, pretrain.cpus, pretrain.account) == (4, 8, "lab")
    assert {"nodes=2", "ntasks-per-node=4", "exclusive"} <= sbatch(pretrain, "pretrain")
    assert "mail-type=END" not in sbatch(pretrain, "pretrain")
    assert (finetune.gpus_per_node, finetune.minutes) == (1, 1440)
    assert {"nodes=1", "ntasks-per-node=1", "mail-type=END"} <= sbatch(finetune)


@pytest.mark.parametrize(
    ("gres", "count"),
    [("gpu", 1), ("gpu:3", 3), ("gpu:a100", 1), ("gpu:a100:4", 4), ("shard:2", 0),
     ("gpu:a100:2,gpu:v100:1", 3), ("lscratch:100,gpu:2", 2)],
)  # fmt: skip
def test_gpus_are_counted_from_gres(gres, count):
    assert Resources(gres=gres).gpus_per_node == count


@pytest.mark.parametrize(
    ("text", "launcher"),
    [
        ("{}", shlex.quote(sys.executable)),
        ("python: /opt/bench/bin/python", "/opt/bench/bin/python"),
        ("container: apptainer exec --nv b.sif", "apptainer exec --nv b.sif python"),
        ("{container: podman run b, python: python3.12}", "podman run b python3.12"),
    ],
)
def test_how_python_is_started(tmp_path, text, launcher):
    assert load_site(write(tmp_path, text)).launcher == launcher


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("partiton: gpu", ["unknown key 'partiton'", "'partition'", "Known: partition, account"]),
        ("pretrain: {node: 2}", ["unknown key 'pretrain.node'", "'pretrain.nodes'"]),
        ("finetune: {prepare: {}}", ["unknown key 'finetune.prepare'"]),
        ("gpus: 1\ngres: gpu:1", ["give gpus or gres, not both"]),
        ("gpus: -1", ["gpus", "greater than or equal to 0"]),
        ("memory_gb: many", ["memory_gb", "'many'"]),
        ("minutes: 2\nsignal_seconds: 120", ["signal_seconds 120", "2 minutes"]),
        ("signal_seconds: 900\nprepare: {minutes: 10}", ["prepare", "signal_seconds 900"]),
        ("extra: {cpus-per-task: 4}", ["cpus-per-task has a key of its own: cpus"]),
        ("extra: {ntasks_per_node: 4}", ["has a key of its own: tasks_per_node"]),
        ("- partition", ["expected `key: value` lines"]),
        ("partition: [gpu", ["line"]),
        ("!!python/object/apply:os.system [true]", ["could not determine a constructor"]),
    ],
)
def test_a_fault_is_one_line_that_names_the_file(tmp_path, text, told):
    path = write(tmp_path, text)
    with pytest.raises(BenchError) as caught:
        load_site(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    for part in told:
        assert part in message


def test_an_unknown_site_is_told_with_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchError, match="unknown site 'one_gpus'. Did you mean 'one_gpu'"):
        load_site("one_gpus")
    with pytest.raises(BenchError, match=r"gone/site\.yaml: no such file"):
        load_site("gone/site.yaml")
    assert isinstance(load_site("cpu"), Site)
