"""Where a result came from: source checkout, libraries and machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl_bench.errors import BenchError
from medssl_bench.record import Git, Machine

if TYPE_CHECKING:
    import torch

DISTRIBUTION = "medssl-bench"


def environment(device: torch.device | str, precision: str) -> dict[str, Any]:
    """Return ``git``, ``libraries`` and ``machine`` for ``Record(..., **environment(...))``.

    Call it when work starts: the state of the checkout is asked once per process.
    """
    return {
        "git": git_state(),
        "libraries": library_versions(),
        "machine": machine(device, precision),
    }


def machine(device: torch.device | str, precision: str) -> Machine:
    """Describe the device, threads and instruction set in use."""
    import torch

    return Machine(
        device=device_name(device),
        threads=torch.get_num_threads(),
        instruction_set=torch.backends.cpu.get_cpu_capability(),
        precision=precision,
    )


def device_name(device: torch.device | str) -> str:
    """Return the model of the GPU or of the CPU."""
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return _cpu_model()
    return str(device)


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def available_memory() -> int:
    """Return the bytes that new work may take: what is free, or less where the job's limit is."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        found = re.search(r"^MemAvailable:\s*(\d+) kB", meminfo.read_text(), re.MULTILINE)
        free = int(found[1]) * 1024 if found else free
    return min([free, *_cgroup_rooms()])


def _cgroup_rooms() -> Iterator[int]:
    """Yield the bytes left below each memory limit (cgroup 2 and 1) over this process."""
    own = Path("/proc/self/cgroup")
    for line in own.read_text().splitlines() if own.is_file() else []:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, limit, usage = "/sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            root = "/sys/fs/cgroup/memory"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = Path(root) / path.lstrip("/")
        for folder in [group, *group.parents]:
            if folder.is_relative_to(root) and (folder / limit).is_file():
                text = (folder / limit).read_text().strip()
                if text.isdigit():
                    cached = re.search(
                        r"^(?:total_)?inactive_file (\d+)$",
                        (folder / "memory.stat").read_text(),
                        re.MULTILINE,
                    )
                    used = int((folder / usage).read_text()) - (int(cached[1]) if cached else 0)
                    yield max(0, int(text) - used)


def available_cores() -> int:
    """Count the cores this process may use (a SLURM job's share, not the node)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of what it depends on.

    Raises:
        BenchError: One of them is not installed, so that no record could say what made it.
    """
    import torch

    name = DISTRIBUTION
    try:
        versions = {"python": platform.python_version(), name: importlib.metadata.version(name)}
        for requirement in importlib.metadata.requires(DISTRIBUTION) or []:
            specifier, _, marker = requirement.partition(";")
            found = re.match(r"[A-Za-z0-9._-]+", specifier)
            if found and "extra" not in marker:
                name = found[0]
                versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise BenchError(
            f"{name} is not installed in {sys.prefix}, and each record names its version;"
            " `bench doctor` says what else is missing"
        ) from None
    # With its build (+cpu, +cu130), which decides the kernels.
    versions["torch"] = str(torch.__version__)
    return versions


@cache
def git_state() -> Git | None:
    """Return the checkout that this package runs from, never that of the working folder.

    None when the package was installed from a wheel, or where there is no git to ask.
    """
    folders = _source_folders()
    return checkout_state(folders[0], folders)


def checkout_state(package: Path, folders: list[Path]) -> Git | None:
    """Return the commit that tracks ``package/__init__.py``, dirty where ``folders`` differ.

    A wheel inside a checkout's virtual environment is not tracked, so it gives None. New files
    that git does not ignore count as dirty: an uncommitted method is one.
    """
    tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
    sha = _git(package, "rev-parse", "HEAD")
    if tracked is None or sha is None:
        return None
    changes = _git(package, "status", "--porcelain", "--", *map(str, folders))
    return Git(sha=sha, dirty=changes is None or bool(changes))


def _source_folders() -> list[Path]:
    names = ["", ".methods", ".tasks", ".analysis", ".slurm", ".results"]
    specs = [importlib.util.find_spec(f"medssl_bench{name}") for name in names]
    return [
        Path(folder).resolve()
        for spec in specs
        if spec is not None
        for folder in spec.submodule_search_locations or []
    ]


def _git(folder: Path, *words: str) -> str | None:
    """Run git in ``folder``, not where GIT_DIR and the like point; None where it fails."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "-c", "safe.directory=*", *words],
            env=own,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
