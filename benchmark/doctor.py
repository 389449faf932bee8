"""What ``bench doctor`` looks at: can the benchmark run here, on what, and what is missing.

Every check is a line with a level; only ``broken`` ones keep the benchmark from running. Nothing
here uses the network.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medssl_bench.errors import BenchError
from medssl_bench.provenance import DISTRIBUTION
from medssl_bench.validation import check_writable, nearest_existing
from medssl_bench.workspace import FILE, Workspace, load_workspace

if TYPE_CHECKING:
    from medssl_bench.slurm.site import Site

Level = Literal["ok", "note", "warning", "broken"]
ROOM_BYTES = 5 * 2**30
"""Less free disk than this is worth a warning; what a plan needs is checked by ``bench run``."""

IMPORTED = {
    "torch": "torch",
    "monai": "monai",
    "timm": "timm",
    "lightning-fabric": "lightning_fabric",
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "nibabel": "nibabel",
    "SimpleITK": "SimpleITK",
    "blosc2": "blosc2",
}
"""Distributions that are imported to see that they load; the others are only looked up."""

EXTRAS = {"nnunet": "the supervised rival nnU-Net", "slurm": "jobs on a SLURM cluster"}


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and what to do where that is not well."""

    section: str
    name: str
    level: Level
    value: str
    advice: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    """The same as numbers, for ``--json``."""

    def as_json(self) -> dict[str, Any]:
        """Describe it as plain data."""
        return asdict(self)


def examine(results: Path | None = None, site: Site | None = None) -> Iterator[Check]:
    """Look at everything, in the order of a reader; ``results`` is bench.yaml's by default.

    With ``site`` also at the cluster, and at what of the site file it would refuse.
    """
    yield from check_software()
    try:
        yield from check_compute()
    except ImportError as error:
        advice = f"reinstall it: pip install --force-reinstall {DISTRIBUTION}"
        yield Check("compute", "torch", "broken", f"cannot be imported ({error})", advice)
    workspace, found = check_workspace()
    yield from found
    root = results or workspace.results
    yield from check_storage(root, workspace.cache or root / "cache")
    yield from check_data(workspace)
    if site is not None:
        yield from check_cluster(site)


def check_cluster(site: Site) -> Iterator[Check]:
    """What the cluster is, and every fault of a site file against it."""
    from medssl_bench.slurm.cluster import ask_cluster, check_site

    try:
        cluster = ask_cluster()
    except BenchError as error:
        yield Check("cluster", "SLURM", "broken", str(error))
        return
    facts = {"name": cluster.name, "version": cluster.version, "max_array": cluster.max_array}
    value = f"{cluster.name}, SLURM {cluster.version}, arrays of at most {cluster.max_array}"
    yield Check("cluster", "SLURM", "ok", value, facts=facts)
    value = "sacct answers" if cluster.accounting else "sacct does not answer"
    advice = "" if cluster.accounting else "how a job ended is read from its own log alone"
    yield Check("cluster", "accounting", "ok" if cluster.accounting else "note", value, advice)
    for name, partition in cluster.partitions.items():
        limit = "no time limit" if partition.minutes is None else f"{partition.minutes} minutes"
        gres = sorted({part for node in partition.nodes for part in node.gres if ":" in part})
        words = [f"{len(partition.nodes)} nodes", limit, *gres]
        words += [word for word, said in (("default", partition.default),) if said]
        words += [] if partition.up else ["not up"]
        yield Check("cluster", f"partition {name}", "ok", ", ".join(words))
    findings = check_site(site, cluster)
    for finding in findings:
        yield Check("cluster", f"site {site.name}", "broken", str(finding))
    if not findings:
        yield Check("cluster", f"site {site.name}", "ok", "asks for nothing that is not there")


def check_software() -> Iterator[Check]:
    """Versions of Python, of this package, of what it needs, and of its extras."""
    yield Check("software", "python", "ok", platform.python_version(), sys.executable)
    own = _version(DISTRIBUTION)
    if own is None:
        yield Check("software", DISTRIBUTION, "broken", "not installed", "pip install -e .")
        return
    yield Check("software", DISTRIBUTION, "ok", own)
    from packaging.requirements import Requirement

    needs = [Requirement(line) for line in importlib.metadata.requires(DISTRIBUTION) or []]
    for need in needs:
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            yield _check_library(need.name, need.specifier.contains, str(need.specifier))
    for extra, purpose in EXTRAS.items():
        for need in needs:
            if need.marker is not None and need.marker.evaluate({"extra": extra}):
                version = _version(need.name)
                if version is None:
                    advice = f"for {purpose}: pip install '{DISTRIBUTION}[{extra}]'"
                    yield Check("software", need.name, "note", "not installed", advice)
                else:
                    yield Check("software", need.name, "ok", version)


def _check_library(name: str, accepts: Callable[..., bool], wanted: str) -> Check:
    """Check that a library is there, new enough, and can be imported."""
    advice = f"pip install '{name}{wanted}'"
    version = _version(name)
    if version is None:
        return Check("software", name, "broken", "not installed", advice)
    if not accepts(version, prereleases=True):
        return Check("software", name, "broken", f"{version}, but {wanted} is needed", advice)
    if name in IMPORTED:
        try:
            with warnings.catch_warnings(action="ignore"):
                module = importlib.import_module(IMPORTED[name])
        except Exception as error:  # a broken binary raises anything, and must be told, not raised
            return Check("software", name, "broken", f"{version} cannot be imported: {error}")
        version = str(getattr(module, "__version__", version))
    return Check("software", name, "ok", version)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_compute() -> Iterator[Check]:
    """Devices, cores, threads, instruction sets, memory, and what ``auto`` means here."""
    import torch

    from medssl_bench.provenance import available_memory, device_name
    from medssl_bench.training import resolve_device, resolve_precision

    cores = _usable_cores()
    yield Check("compute", "CPU", "ok", device_name("cpu"), facts={"cores": cores})
    threads = torch.get_num_threads()
    limit = os.environ.get("OMP_NUM_THREADS")
    level: Level = "ok" if threads == cores else "note" if threads < cores else "warning"
    advice = f"set OMP_NUM_THREADS to at most {cores}" if threads > cores else ""
    if threads < cores and limit:
        advice = f"OMP_NUM_THREADS is {limit}"
    shown = f"{threads} threads on {cores} usable cores"
    yield Check("compute", "threads", level, shown, advice, {"threads": threads})
    able = _instruction_sets()
    names = ", ".join(name for name, there in able.items() if there)
    yield Check("compute", "instruction sets", "ok", names or "baseline", facts=dict(able))
    memory = available_memory()
    yield Check("compute", "memory", "ok", f"{_gib(memory)} free", facts={"free_bytes": memory})
    yield from _check_cuda()
    device = resolve_device("auto")
    precision = resolve_precision("auto", device)
    why = {
        ("cuda", "bf16-mixed"): "the GPU multiplies in bf16",
        ("cuda", "32-true"): "this GPU has no bf16",
        ("cpu", "bf16-mixed"): "the CPU multiplies in bf16",
        ("cpu", "32-true"): "bf16 is slower than float32 on a CPU without AMX",
    }[device, precision]
    facts = {"device": device, "precision": precision}
    yield Check("compute", "auto", "ok", f"{device}, {precision}: {why}", facts=facts)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _instruction_sets() -> dict[str, bool]:
    """Return which of AVX2, AVX-512, AVX512-BF16 and AMX torch finds on this CPU."""
    import torch

    asked = {
        "AVX2": "_is_avx2_supported",
        "AVX-512": "_is_avx512_supported",
        "AVX512-BF16": "_is_avx512_bf16_supported",
        "AMX": "_is_amx_tile_supported",
    }
    # Some builds of torch lack some of these questions; none is asked of what cannot answer.
    answers = {name: getattr(torch.cpu, attribute, None) for name, attribute in asked.items()}
    return {name: bool(ask is not None and ask()) for name, ask in answers.items()}


def _check_cuda() -> Iterator[Check]:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        value = "none seen" if built else "none: this torch is built for the CPU"
        advice = "is there a driver? `nvidia-smi`" if built else "see pytorch.org for other builds"
        yield Check("compute", "CUDA devices", "note", value, advice, {"devices": 0})
        return
    for number in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(number)
        with torch.cuda.device(number):
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            free, total = torch.cuda.mem_get_info()
        value = f"{device.name}, {_gib(total)} ({_gib(free)} free), {'' if bf16 else 'no '}bf16"
        facts = {"memory_bytes": total, "free_bytes": free, "bf16": bf16}
        yield Check("compute", f"cuda:{number}", "ok", value, facts=facts)


def check_workspace() -> tuple[Workspace, list[Check]]:
    """Read bench.yaml and BENCH_DATA; the defaults stand in for a faulty file."""
    checks: list[Check] = []
    workspace = Workspace()
    try:
        workspace = load_workspace()
        there = Path(FILE).is_file()
        advice = "" if there else "optional; `bench init` writes one"
        value = str(Path(FILE).absolute()) if there else "none in this folder"
        checks.append(Check("folders", FILE, "ok" if there else "note", value, advice))
    except BenchError as error:
        checks.append(Check("folders", FILE, "broken", str(error), "correct it, or `bench init`"))
    for name, folder in workspace.data_folders().items():
        if not folder.is_dir():
            title = f"data of {name}" if name else "data"
            advice = "correct BENCH_DATA or `data` in bench.yaml"
            checks.append(Check("folders", title, "broken", f"{folder}: no such folder", advice))
    if workspace.corpus is not None:
        checks.append(_check_corpus(workspace.corpus))
    return workspace, checks


def _check_corpus(spec: str) -> Check:
    from medssl_bench.tasks.corpora import load_corpus

    try:
        load_corpus(spec)
    except BenchError as error:
        return Check("folders", "corpus", "broken", str(error), "correct `corpus` in bench.yaml")
    return Check("folders", "corpus", "ok", spec)


def check_storage(results: Path, cache: Path) -> Iterator[Check]:
    """Whether results and cache can be written, and what is free there."""
    from medssl_bench.store import Store

    for name, folder in (("results", results), ("cache", cache)):
        shown = str(folder.absolute())
        try:
            check_writable(folder)
            if name == "results" and (folder / "store.json").exists():
                Store(folder, read_only=True)
        except BenchError as error:
            yield Check("folders", name, "broken", str(error))
            continue
        free = shutil.disk_usage(nearest_existing(folder)).free
        level: Level = "ok" if free >= ROOM_BYTES else "warning"
        advice = "" if level == "ok" else f"make room, or choose another {name} folder"
        facts = {"folder": shown, "free_bytes": free}
        yield Check("folders", name, level, f"{shown}, {_gib(free)} free", advice, facts)


def check_data(workspace: Workspace) -> Iterator[Check]:
    """Which registered tasks have data here; one that is missing breaks nothing."""
    from medssl_bench.inventory import take_stock
    from medssl_bench.tasks import load_tasks

    for task in load_tasks(["all"]):
        stock = take_stock(task, workspace.data_folders(), headers=False)
        if stock.found:
            value = f"{stock.state}, {stock.shown('train')} + {stock.shown('test')} cases"
            yield Check("data", task.name, "ok", value)
        else:
            advice = f"{task.access}; `bench data status {task.name}`".lstrip("; ")
            yield Check("data", task.name, "note", "missing", advice)


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
