"""The user's folder: ``bench.yaml`` and ``BENCH_DATA`` give the defaults of every command."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from medssl_bench.errors import BenchError, did_you_mean
from medssl_bench.tasks.yaml_file import validate

FILE = "bench.yaml"
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")

TEMPLATE = """\
# Defaults of `bench` in this folder; flags on the command line win.
profile: quick            # demo | quick | paper   (bench list profiles)
# corpus: folder:/scans/unlabelled        # any tree of NIfTI, NRRD, MHA or DICOM series
# backbone: swin_65m                      # bench list backbones
results: bench-results
# cache: /fast-disk/bench-cache           # prepared volumes; default: inside results
# site: my_site.yaml                      # how jobs are asked for on a cluster
# data: /datasets                         # holds a folder per task, such as /datasets/amos_mri
# data:                                   # or one folder for each task
#   amos_mri: /datasets/amos22
# draws: 3
# seeds: 1
# set:                                    # anything that --set takes
#   finetune.steps: 5000
"""


class Workspace(BaseModel):
    """What ``bench.yaml`` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    profile: str = "quick"
    corpus: str | None = None
    backbone: str | None = None
    results: Path = Path("bench-results")
    cache: Path | None = None
    site: str | None = None
    """Where ``--executor slurm`` submits to: a name or file, as ``--site`` takes it."""
    data: Path | dict[str, Path] | None = None
    draws: int | None = Field(None, ge=1)
    seeds: int | None = Field(None, ge=1)
    set: dict[str, Any] = Field(default_factory=dict)

    def data_folders(self) -> dict[str, Path]:
        """Task name -> folder; the empty name is the default folder (``BENCH_DATA`` last)."""
        found: dict[str, Path] = {}
        if "BENCH_DATA" in os.environ:
            found[""] = Path(os.environ["BENCH_DATA"])
        if isinstance(self.data, dict):
            found.update(self.data)
        elif self.data is not None:
            found[""] = self.data
        return {name: folder.expanduser() for name, folder in found.items()}


def load_workspace(folder: Path | None = None) -> Workspace:
    """Read ``bench.yaml`` of a folder (the working folder by default), if there is one."""
    path = (folder or Path.cwd()) / FILE
    if not path.is_file():
        return Workspace()
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        first = " ".join(str(error).split())
        raise BenchError(f"{path}: not YAML: {first}") from None
    if values is None:  # empty, or comments only
        return Workspace()
    if not isinstance(values, dict):
        raise BenchError(f"{path}: expected `key: value` lines; `bench init` writes an example")
    return validate(values, Workspace, path)


def parse_data(
    words: Iterable[str], known: Mapping[str, Path], names: Iterable[str]
) -> dict[str, Path]:
    """Add ``--data DIR`` and ``--data NAME=DIR`` to the known folders.

    Raises:
        BenchError: a folder that does not exist, or a name that is not among ``names``.
    """
    found, known_names = dict(known), set(names)
    for word in words:
        name, equals, folder = word.partition("=")
        if not equals or Path(word).expanduser().is_dir():
            name, folder = "", word
        elif name not in known_names:
            raise BenchError(
                f"--data {word}: unknown task or corpus {name!r}.{did_you_mean(name, known_names)}"
            )
        path = Path(folder).expanduser()
        if folder and path.is_file():
            what = (
                "is an archive; unpack it first, and give the folder"
                if path.name.lower().endswith(ARCHIVES)
                else "is a file; give the folder that holds the data"
            )
            raise BenchError(f"--data {word}: {path} {what}")
        if not folder or not path.is_dir():
            raise BenchError(f"--data {word}: no such folder")
        found[name] = path
    return found
