"""The live cluster, as its own commands describe it, and what of a site file it would refuse."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from medssl_bench.errors import BenchError, did_you_mean

if TYPE_CHECKING:
    from medssl_bench.slurm.site import Resources, Site, Stage

NEEDED = ("sbatch", "scontrol", "sinfo", "squeue", "scancel")
TIMEOUT_SECONDS = 60
"""A controller under load may take its time."""

_UNITS = ("", "K", "M", "G", "T", "P")
_NODES = "%R|%N|%c|%m|%G|%f|%T"
_OPERATORS = re.compile(r"[&|,()\[\]*!]")


@dataclass(frozen=True)
class Node:
    """A node as one partition sees it."""

    name: str
    cpus: int
    memory_mb: int
    gres: Mapping[str, int]
    """``gpu`` and ``gpu:a100`` -> how many."""
    features: frozenset[str]
    state: str


@dataclass(frozen=True)
class Partition:
    """A queue: its limits and its nodes."""

    name: str
    minutes: int | None
    """Longest time limit; None: unlimited."""
    nodes: tuple[Node, ...]
    up: bool = True
    default: bool = False
    max_nodes: int | None = None
    accounts: frozenset[str] | None = None
    """Accounts that may use it; None: all."""
    qos: frozenset[str] | None = None


@dataclass(frozen=True)
class Cluster:
    """What the commands of SLURM say of it."""

    name: str
    version: str
    max_array: int
    """MaxArraySize: indices of an array are below it."""
    partitions: Mapping[str, Partition]
    accounting: bool
    """Whether ``sacct`` answers, so that the end of a job can be asked for after it is gone."""
    accounts: frozenset[str] | None = None
    """Accounts of the user; None where ``sacctmgr`` does not answer."""
    qos: frozenset[str] | None = None

    @property
    def default(self) -> Partition | None:
        """The partition of jobs that name none."""
        return next((found for found in self.partitions.values() if found.default), None)


@dataclass(frozen=True)
class Finding:
    """Something in a site file that this cluster would refuse."""

    key: str
    message: str
    stage: Stage | None = None
    """None: in every stage."""

    def __str__(self) -> str:
        return f"{f'{self.stage}.' if self.stage else ''}{self.key}: {self.message}"


def available() -> None:
    """Refuse a machine without SLURM.

    Raises:
        BenchError: A command of it is not found.
    """
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        raise BenchError(
            f"no SLURM on this machine: {missing[0]} not found; run this on a login node of the"
            " cluster, or take --executor local"
        )


def ask_cluster() -> Cluster:
    """Ask the live cluster what it is.

    Raises:
        BenchError: No SLURM here, or its controller does not answer.
    """
    available()
    config = read_config(run_command("scontrol", "show", "config"))
    nodes = read_nodes(run_command("sinfo", "--all", "--Node", "--noheader", f"--format={_NODES}"))
    partitions = read_partitions(
        run_command("scontrol", "--all", "--oneliner", "show", "partition")
    )
    accounts, qos = _associations()
    return Cluster(
        name=config.get("ClusterName", "unknown"),
        version=config.get("SLURM_VERSION", "unknown"),
        max_array=_count(config.get("MaxArraySize", "")) or 1001,  # slurm.conf's default
        partitions={
            name: replace(found, nodes=tuple(nodes.get(name, ())))
            for name, found in partitions.items()
        },
        accounting=_answers("sacct", "--noheader", "--allocations", "--starttime=now"),
        accounts=accounts,
        qos=qos,
    )


def read_config(text: str) -> dict[str, str]:
    """Read ``scontrol show config``: lines ``Key = Value``."""
    found = (re.match(r"(\S+)\s*=\s?(.*?)\s*$", line) for line in text.splitlines())
    return {match[1]: match[2] for match in found if match}


def read_partitions(text: str) -> dict[str, Partition]:
    """Read ``scontrol --oneliner show partition``, without nodes."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        words = dict(re.findall(r"(\w+)=(\S*)", line))
        if name := words.get("PartitionName"):
            found[name] = Partition(
                name=name,
                minutes=minutes_of(words.get("MaxTime", "")),
                nodes=(),
                up=words.get("State", "UP") == "UP",
                default=words.get("Default") == "YES",
                max_nodes=_count(words.get("MaxNodes", "")),
                accounts=_allowed(words.get("AllowAccounts", "ALL")),
                qos=_allowed(words.get("AllowQos", "ALL")),
            )
    return found


def read_nodes(text: str) -> dict[str, list[Node]]:
    """Read ``sinfo --Node --format=%R|%N|%c|%m|%G|%f|%T``: partition -> its nodes."""
    found: dict[str, list[Node]] = {}
    for line in text.splitlines():
        words = [word.strip() for word in line.split("|")]
        if len(words) != 7:
            continue
        partition, name, cpus, memory, gres, features, state = words
        node = Node(
            name=name,
            cpus=_count(cpus) or 0,
            memory_mb=_count(memory) or 0,
            gres=gres_of(gres),
            features=frozenset(features.split(",")) - {"", "(null)"},
            state=state,
        )
        found.setdefault(partition, []).append(node)
    return found


def gres_of(text: str) -> dict[str, int]:
    """Read ``gpu:a100:4(S:0-1),shard:8``: every name, with and without its type, -> how many."""
    found: dict[str, int] = {}
    for part in re.sub(r"\([^)]*\)", "", text).split(","):
        name, *rest = part.strip().split(":")
        amount = re.fullmatch(r"(\d+)([KMGTP]?)", rest[-1]) if rest else None
        if amount:
            rest.pop()
        size = int(amount[1]) * 1024 ** _UNITS.index(amount[2]) if amount else 1
        for known in filter(None, (name, f"{name}:{rest[0]}" if rest else "")):
            found[known] = found.get(known, 0) + size
    return found


def minutes_of(text: str) -> int | None:
    """Read a time of SLURM: ``1-12:00:00``, ``04:00:00``, ``30:00``; None: no limit, or no time."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if match is None:  # UNLIMITED, infinite, NONE
        return None
    days, first, second, third = match.groups(default="")
    if days:  # days-hours[:minutes[:seconds]]
        return int(days) * 1440 + int(first) * 60 + int(second or 0)
    if third:  # hours:minutes:seconds
        return int(first) * 60 + int(second)
    return int(first)  # minutes[:seconds]


def check_site(site: Site, cluster: Cluster) -> list[Finding]:
    """Return what this cluster would refuse of what a site's jobs ask for."""
    from medssl_bench.slurm.site import STAGES

    found: dict[Finding, list[Stage]] = {}
    for stage in STAGES:
        for finding in _check(site.resources(stage), stage, cluster):
            found.setdefault(finding, []).append(stage)
    return [
        shown
        for finding, stages in found.items()
        for shown in (
            [finding]
            if len(stages) == len(STAGES)
            else [replace(finding, stage=stage) for stage in stages]
        )
    ]


def _check(asked: Resources, stage: Stage, cluster: Cluster) -> Iterator[Finding]:
    if asked.max_array is not None and asked.max_array > cluster.max_array:
        message = f"{asked.max_array} is over the cluster's MaxArraySize {cluster.max_array}"
        yield Finding("max_array", message)
    yield from _check_known("account", asked.account, cluster.accounts)
    yield from _check_known("qos", asked.qos, cluster.qos)
    names = asked.partition.split(",") if asked.partition else []
    if not names:
        if cluster.default is None:
            known = ", ".join(cluster.partitions) or "none"
            yield Finding("partition", f"the cluster has no default; name one of {known}")
            return
        names = [cluster.default.name]
    for name in names:
        if name not in cluster.partitions:
            near = did_you_mean(name, cluster.partitions)
            known = ", ".join(cluster.partitions) or "none"
            yield Finding("partition", f"{cluster.name} has no {name!r}.{near} Known: {known}")
        else:
            yield from _check_partition(asked, stage, cluster.partitions[name])


def _check_known(key: str, name: str | None, known: frozenset[str] | None) -> Iterator[Finding]:
    if name is not None and known is not None and name not in known:
        listed = ", ".join(sorted(known)) or "none"
        near = did_you_mean(name, known)
        yield Finding(key, f"you have no {key} {name!r}.{near} Yours: {listed}")


def _check_partition(asked: Resources, stage: Stage, partition: Partition) -> Iterator[Finding]:
    where = f"partition {partition.name}"
    if not partition.up:
        yield Finding("partition", f"{partition.name} is not up")
    if partition.minutes is not None and asked.minutes > partition.minutes:
        yield Finding(
            "minutes", f"{asked.minutes} is over the limit of {where}: {partition.minutes}"
        )
    if partition.accounts is not None and asked.account not in partition.accounts:
        yield Finding("account", f"{where} takes only {', '.join(sorted(partition.accounts))}")
    if partition.qos is not None and asked.qos is not None and asked.qos not in partition.qos:
        yield Finding("qos", f"{where} takes only {', '.join(sorted(partition.qos))}")
    wanted = asked.nodes if stage == "pretrain" else 1
    if partition.max_nodes is not None and wanted > partition.max_nodes:
        yield Finding("nodes", f"{wanted} is over the limit of {where}: {partition.max_nodes}")
    faults = list(_check_nodes(asked, stage, partition))
    yield from faults
    if not faults and sum(_suits(asked, stage, node) for node in partition.nodes) < wanted:
        many = f"{wanted} nodes that each have" if wanted > 1 else "node that has"
        yield Finding("nodes", f"{where} has no {many} all of it: {_described(asked, stage)}")


def _check_nodes(asked: Resources, stage: Stage, partition: Partition) -> Iterator[Finding]:
    """What no single node has, one thing at a time."""
    where, nodes = f"partition {partition.name}", partition.nodes
    if not nodes:
        yield Finding("partition", f"{partition.name} has no nodes")
        return
    cpus = asked.cpus * asked.tasks(stage)
    if cpus > (most := max(node.cpus for node in nodes)):
        tasks = f" for each of {asked.tasks(stage)} tasks" if asked.tasks(stage) > 1 else ""
        yield Finding("cpus", f"{asked.cpus}{tasks} is more than any node of {where}: {most}")
    need = 1024 * (asked.memory_gb or 0)
    if need > (most := max(node.memory_mb for node in nodes)):
        yield Finding(
            "memory_gb",
            f"{asked.memory_gb:g} is more than any node of {where}: {most / 1024:.1f}",
        )
    for name, count in wanted_gres(asked).items():
        most = max(node.gres.get(name, 0) for node in nodes)
        if count > most:
            have = sorted({f"{known}:{n}" for node in nodes for known, n in node.gres.items()})
            yield Finding(
                "gpus" if asked.gpus is not None else "gres",
                f"{name}:{count} is more than any node of {where} has: {', '.join(have) or 'none'}",
            )
    features = frozenset[str]().union(*(node.features for node in nodes))
    for word in filter(None, (_OPERATORS.split(asked.constraint or ""))):
        if not word.isdigit() and word not in features:
            near = did_you_mean(word, features)
            known = ", ".join(sorted(features)) or "none"
            yield Finding("constraint", f"no node of {where} has {word!r}.{near} Known: {known}")


def _suits(asked: Resources, stage: Stage, node: Node) -> bool:
    """Whether a node has cores, memory and generic resources all together."""
    return (
        node.cpus >= asked.cpus * asked.tasks(stage)
        and node.memory_mb >= 1024 * (asked.memory_gb or 0)
        and all(node.gres.get(name, 0) >= count for name, count in wanted_gres(asked).items())
    )


def _described(asked: Resources, stage: Stage) -> str:
    words = [f"{asked.cpus * asked.tasks(stage)} cores"]
    if asked.memory_gb is not None:
        words.append(f"{asked.memory_gb:g} GB")
    return ", ".join([*words, *(f"{name}:{n}" for name, n in wanted_gres(asked).items())])


def wanted_gres(asked: Resources) -> dict[str, int]:
    """Generic resources of each node that jobs ask for, by the fullest name given."""
    if asked.gpus is not None:
        return {"gpu": asked.gpus} if asked.gpus else {}
    every = [gres_of(part) for part in (asked.gres or "").split(",") if part.strip()]
    return {name: count for found in every for name, count in [max(found.items(), key=_length)]}


def _length(item: tuple[str, int]) -> int:
    return len(item[0])


def _allowed(text: str) -> frozenset[str] | None:
    return None if text in ("ALL", "") else frozenset(text.split(","))


def _count(text: str) -> int | None:
    """Read ``64``, ``64+`` or ``257000M``; None: UNLIMITED, or no number."""
    match = re.match(r"\d+", text.strip())
    return int(match[0]) if match else None


def _associations() -> tuple[frozenset[str] | None, frozenset[str] | None]:
    """Accounts and QOS of the user, as far as ``sacctmgr`` answers."""
    user = os.environ.get("USER") or str(os.getuid())
    words = ("--noheader", "--parsable2", "show", "associations", f"user={user}")
    if shutil.which("sacctmgr") is None:
        return None, None
    try:
        lines = run_command("sacctmgr", *words, "format=Account,QOS").splitlines()
    except BenchError:
        return None, None
    pairs = [line.split("|", 1) for line in lines if "|" in line]
    if not pairs:  # the cluster keeps none, so none is asked for
        return None, None
    qos = frozenset(name for _, names in pairs for name in names.split(",") if name)
    return frozenset(account for account, _ in pairs if account), qos or None


def _answers(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    try:
        run_command(*command)
    except BenchError:
        return False
    return True


def run_command(*command: str) -> str:
    """Run a command of SLURM and return what it prints.

    Raises:
        BenchError: It fails or does not answer in time; with the first line it printed.
    """
    # SINFO_FORMAT, SACCT_FORMAT and their like would change what is printed.
    shaping = re.compile(r"(SINFO|SACCT|SCONTROL|SQUEUE)_|SLURM_TIME_FORMAT|SLURM_BITSTR_LEN")
    environment = {name: value for name, value in os.environ.items() if not shaping.match(name)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS,
            env=environment | {"LC_ALL": "C"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BenchError(
            f"SLURM does not answer: `{' '.join(command[:3])}` took over {TIMEOUT_SECONDS} s; is"
            " its controller up? `scontrol ping`"
        ) from None
    if done.returncode:
        said = next(iter(_lines(done.stderr)), f"exit code {done.returncode}")
        raise BenchError(
            f"SLURM does not answer: `{' '.join(command[:3])}`: {said}; is its controller up?"
            " `scontrol ping`"
        )
    return done.stdout


def _lines(text: str) -> Iterable[str]:
    return (line.strip() for line in text.splitlines() if line.strip())
