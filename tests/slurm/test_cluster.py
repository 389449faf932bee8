"""The live cluster as its commands describe it, and site files against it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from medssl_bench.errors import BenchError
from medssl_bench.slurm import dispatch
from medssl_bench.slurm.cluster import (
    Cluster,
    ask_cluster,
    available,
    check_site,
    gres_of,
    minutes_of,
    read_config,
    read_nodes,
    read_partitions,
)
from medssl_bench.slurm.site import Site


@pytest.fixture
def cluster(commands) -> Cluster:
    commands()
    return ask_cluster()


def test_what_is_asked_is_what_was_recorded(cluster):
    assert (cluster.name, cluster.version, cluster.max_array) == ("trial", "22.05.8", 1001)
    assert not cluster.accounting and cluster.accounts is None
    assert list(cluster.partitions) == ["cpu", "gpu", "lab"]
    assert cluster.default is cluster.partitions["cpu"]
    gpu, lab = cluster.partitions["gpu"], cluster.partitions["lab"]
    assert (gpu.minutes, gpu.max_nodes, gpu.up, gpu.accounts) == (1440, 2, True, None)
    assert (lab.minutes, lab.max_nodes, lab.up) == (None, None, False)
    assert lab.accounts == {"lab", "guests"}
    nodes = {node.name: node for node in gpu.nodes}
    assert nodes.keys() == {"gpu01", "gpu02", "old01"}
    assert (nodes["gpu01"].cpus, nodes["gpu01"].memory_mb) == (32, 500000)
    assert nodes["gpu01"].gres == {"gpu": 4, "gpu:a100": 4}
    assert nodes["gpu01"].features == {"a100", "nvlink"}
    assert nodes["old01"].gres == {"gpu": 2} and nodes["old01"].features == set()


def test_accounting_that_answers(commands):
    commands(sacct="exit 0", sacctmgr="printf 'lab|normal,high\\nguests|normal\\n'")
    found = ask_cluster()
    assert found.accounting
    assert (found.accounts, found.qos) == ({"lab", "guests"}, {"normal", "high"})


def test_variables_of_the_user_do_not_change_what_is_printed(commands, monkeypatch):
    monkeypatch.setenv("SINFO_FORMAT", "%N")
    folder = commands()
    (folder / "sinfo").write_text(
        '#!/bin/sh\n[ -z "$SINFO_FORMAT" ] && ' + (folder / "sinfo").read_text().splitlines()[1]
    )
    assert ask_cluster().partitions["gpu"].nodes


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("1-00:00:00", 1440), ("2-12:30:00", 3630), ("1-06", 1800), ("04:00:00", 240),
        ("30:00", 30), ("90", 90), ("UNLIMITED", None), ("infinite", None), ("NONE", None),
        ("", None),
    ],
)  # fmt: skip
def test_times_of_slurm(text, minutes):
    assert minutes_of(text) == minutes


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("(null)", {}),
        ("gpu:4", {"gpu": 4}),
        ("gpu", {"gpu": 1}),
        ("gpu:a100:4(S:0-1)", {"gpu": 4, "gpu:a100": 4}),
        ("gpu:a100:2(S:0),gpu:v100:1(S:1)", {"gpu": 3, "gpu:a100": 2, "gpu:v100": 1}),
        ("gpu:a100_1g.5gb:7(S:0,2),shard:8", {"gpu": 7, "gpu:a100_1g.5gb": 7, "shard": 8}),
        ("lscratch:2K", {"lscratch": 2048}),
    ],
)
def test_generic_resources(text, found):
    assert gres_of(text) == found


def test_lines_that_are_none_are_passed_over():
    assert read_config("Configuration data as of today\n\nA = 1\nB           = x = y\nC =\n") == {
        "A": "1", "B": "x = y", "C": "",
    }  # fmt: skip
    assert read_partitions("No partitions in the system\n") == {}
    assert read_nodes("sinfo: warning\n|\n") == {}
    (node,) = read_nodes("gpu*|n1|64+|257000+|(null)|(null)|idle~")["gpu*"]
    assert (node.cpus, node.memory_mb, node.gres, node.features) == (64, 257000, {}, set())


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"partition": "cpu", "cpus": 64, "minutes": 2880},
        {"partition": "gpu", "gres": "gpu:a100:4", "cpus": 8, "memory_gb": 488},
        {"partition": "gpu", "gpus": 2, "cpus": 8, "constraint": "a100|nvlink"},
        {"partition": "cpu,gpu", "max_array": 1001},
        {"partition": "gpu", "pretrain": {"nodes": 2, "gpus": 4}},
    ],
)
def test_what_the_cluster_has_is_not_found_fault_with(cluster, words):
    assert check_site(Site(**words), cluster) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"partition": "gpuu"}, "partition: trial has no 'gpuu'. Did you mean 'gpu'?"
         " Known: cpu, gpu, lab"),
        ({"partition": "gpu", "minutes": 1441},
         "minutes: 1441 is over the limit of partition gpu: 1440"),
        ({"gpus": 1}, "gpus: gpu:1 is more than any node of partition cpu has: none"),
        ({"partition": "gpu", "gres": "gpu:a100:5"}, "gres: gpu:a100:5 is more than any node of"
         " partition gpu has: gpu:2, gpu:4, gpu:a100:4"),
        ({"partition": "gpu", "gres": "gpu:h100:1"}, "gres: gpu:h100:1 is more than any node of"
         " partition gpu has: gpu:2, gpu:4, gpu:a100:4"),
        ({"cpus": 65}, "cpus: 65 is more than any node of partition cpu: 64"),
        ({"memory_gb": 245}, "memory_gb: 245 is more than any node of partition cpu: 244.1"),
        ({"constraint": "genoaa&x"}, "constraint: no node of partition cpu has 'genoaa'."
         " Did you mean 'genoa'? Known: genoa"),
        ({"max_array": 1002}, "max_array: 1002 is over the cluster's MaxArraySize 1001"),
        ({"partition": "lab", "account": "lab"}, "partition: lab is not up"),
        ({"partition": "lab", "account": "other"}, "account: partition lab takes only guests, lab"),
        ({"partition": "gpu", "pretrain": {"nodes": 3}},
         "pretrain.nodes: 3 is over the limit of partition gpu: 2"),
        ({"partition": "gpu", "pretrain": {"gpus": 4, "cpus": 9}}, "pretrain.cpus: 9 for each of 4"
         " tasks is more than any node of partition gpu: 32"),
    ],
)  # fmt: skip
def test_what_it_would_refuse_is_found(cluster, words, told):
    assert told in [str(finding) for finding in check_site(Site(**words), cluster)]


def test_things_that_no_one_node_has_together(commands):
    folder = commands()
    (folder / "sinfo").write_text(
        "#!/bin/sh\nprintf '%s\\n' 'cpu|a|64|1000|(null)||idle' 'cpu|b|8|64000|gpu:2||idle'\n"
    )
    found = check_site(Site(cpus=32, memory_gb=32, gpus=1), ask_cluster())
    assert [str(finding) for finding in found] == [
        "nodes: partition cpu has no node that has all of it: 32 cores, 32 GB, gpu:1"
    ]


def test_an_account_that_the_user_has_not(commands):
    commands(sacctmgr="printf 'lab|normal\\n'")
    found = check_site(Site(account="lap", qos="high"), ask_cluster())
    assert [str(finding) for finding in found] == [
        "account: you have no account 'lap'. Did you mean 'lab'? Yours: lab",
        "qos: you have no qos 'high'. Yours: normal",
    ]


def test_a_disk_of_one_machine_is_warned_of_where_there_are_others(cluster, tmp_path, monkeypatch):
    """What ``stat`` calls a disk of its own is the same for both; only the list is another."""
    monkeypatch.setattr(dispatch, "LOCAL_FILE_SYSTEMS", file_system(tmp_path))
    (line,) = dispatch.unseen(tmp_path, cluster)
    assert line.startswith(f"warning: {tmp_path} lies on ") and "all nodes share" in line
    monkeypatch.setattr(dispatch, "LOCAL_FILE_SYSTEMS", set())  # as on a shared one
    assert dispatch.unseen(tmp_path, cluster) == []
    monkeypatch.setattr(dispatch, "LOCAL_FILE_SYSTEMS", file_system(tmp_path))
    alone = replace(cluster, partitions={})
    assert dispatch.unseen(tmp_path, alone) == []


def file_system(folder: Path) -> set[str]:
    words = ["stat", "--file-system", "--format=%T", str(folder)]
    return {subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()}


def test_no_slurm_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="no SLURM on this machine: sbatch not found; run this on"):
        available()


def test_a_controller_that_does_not_answer(commands):
    commands(
        scontrol="echo 'slurm_load_ctl_conf error: Unable to contact slurm controller' >&2; exit 1"
    )
    with pytest.raises(BenchError) as caught:
        ask_cluster()
    assert str(caught.value) == (
        "SLURM does not answer: `scontrol show config`: slurm_load_ctl_conf error: Unable to"
        " contact slurm controller; is its controller up? `scontrol ping`"
    )
