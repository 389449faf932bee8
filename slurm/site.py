"""How jobs are asked for on a cluster: a site file, checked, and what submitit makes of it."""

from __future__ import annotations

import re
import shlex
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medssl_bench.errors import BenchError, did_you_mean
from medssl_bench.tasks.yaml_file import read_mapping, validate

if TYPE_CHECKING:
    from medssl_bench.training import Elsewhere

Stage = Literal["prepare", "pretrain", "finetune"]
STAGES: tuple[Stage, ...] = get_args(Stage)

_GPUS = re.compile(r"gpu(?::[A-Za-z_][\w.-]*)?(?::(\d+))?")


class Resources(BaseModel):
    """What the jobs of one stage ask for; what is not said is left to the cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    partition: str | None = None
    """One, or several joined by commas: whichever is free first."""
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    """Features of nodes, such as ``a100`` or ``a100|h100``."""
    exclude: str | None = None
    """Nodes that are not to be used: ``node[03-05]``."""
    nodelist: str | None = None
    reservation: str | None = None
    gpus: int | None = Field(None, ge=0)
    """GPUs of each node, of any type; or give ``gres``. 0: the job runs on the CPU."""
    gres: str | None = None
    """Generic resources of each node, such as ``gpu:a100:4``."""
    cpus: int = Field(1, ge=1)
    """Cores of each task."""
    memory_gb: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Of each node."""
    minutes: int = Field(1440, ge=1)
    """Time limit of a job; longer work goes on in the next one."""
    signal_seconds: int = Field(120, ge=0)
    """How long before its limit a job is told, so that it writes a checkpoint."""
    parallel: int = Field(256, ge=1)
    """Tasks of an array that run at once."""
    max_array: int | None = Field(None, ge=1)
    """Tasks of one array; None: the cluster's MaxArraySize."""
    nodes: int = Field(1, ge=1)
    """Nodes that share one pretraining."""
    tasks_per_node: int | None = Field(None, ge=1)
    """Processes of a job on each node; None: in pretraining one for each GPU, else one."""
    per_gpu: int = Field(1, ge=1)
    """Cells that share one GPU."""
    cells_per_job: int = Field(1, ge=1)
    """Cells that one job runs, one after another."""
    restarts: int = Field(100, ge=0)
    """How often a job that was preempted or reached its time limit is put back into the queue."""
    kills: int = Field(3, ge=0)
    """How often one is whose process was killed from outside, for want of memory perhaps."""
    setup: tuple[str, ...] = ()
    """Lines of shell before the work, such as ``module load cuda``."""
    container: str | None = None
    """Command before Python, such as ``apptainer exec --nv /images/bench.sif``."""
    python: str | None = None
    """How Python is called on a node; None: as here, or ``python`` in a container."""
    srun_args: tuple[str, ...] = ()
    """Words for srun, such as ``--container-image=/images/bench.sqsh`` (pyxis)."""
    comment: str | None = None
    extra: dict[str, str | int | bool] = Field(default_factory=dict)
    """Any further option of sbatch: ``mail-user: me@example.org``."""

    @field_validator("setup", "srun_args", mode="before")
    @classmethod
    def _one_line_is_a_list(cls, value: object) -> object:
        return value.strip().splitlines() if isinstance(value, str) else value

    @field_validator("extra", mode="after")
    @classmethod
    def _not_what_has_a_key(cls, extra: dict[str, Any]) -> dict[str, Any]:
        for option in extra:
            if (key := _KEYS.get(option.replace("_", "-"))) is not None:
                raise ValueError(f"{option} has a key of its own: {key}")
        return extra

    @model_validator(mode="after")
    def _fits_together(self) -> Resources:
        if self.gpus is not None and self.gres is not None:
            raise ValueError("give gpus or gres, not both")
        if self.signal_seconds >= 60 * self.minutes:
            raise ValueError(
                f"signal_seconds {self.signal_seconds} is not less than the {self.minutes} minutes"
                " of the job"
            )
        return self

    @property
    def gpus_per_node(self) -> int:
        """GPUs of each node, whichever key says so."""
        if self.gpus is not None:
            return self.gpus
        found = (_GPUS.fullmatch(part.strip()) for part in (self.gres or "").split(","))
        return sum(int(match[1] or 1) for match in found if match)

    @property
    def launcher(self) -> str:
        """How Python is started on a node, quoted for a shell: submitit's ``python``."""
        if self.container is not None:
            return f"{self.container} {self.python or 'python'}"
        return self.python or shlex.quote(sys.executable)

    def tasks(self, stage: Stage) -> int:
        """Processes of a job of this stage on each node."""
        if self.tasks_per_node is not None:
            return self.tasks_per_node
        return max(1, self.gpus_per_node) if stage == "pretrain" else 1

    def submitit(self, stage: Stage) -> dict[str, Any]:
        """Return the arguments for ``submitit.AutoExecutor.update_parameters``.

        How Python is started is no part of them: :attr:`launcher` is for ``slurm_python``, when
        the executor is made.
        """
        gres = self.gres if self.gpus is None else f"gpu:{self.gpus}" if self.gpus else None
        asked: dict[str, Any] = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "exclude": self.exclude,
            "nodelist": self.nodelist,
            "gres": gres,
            "comment": self.comment,
            "cpus_per_task": self.cpus,
            "mem": None if self.memory_gb is None else f"{round(self.memory_gb * 1024)}M",
            "time": self.minutes,
            "nodes": self.nodes if stage == "pretrain" else 1,
            "ntasks_per_node": self.tasks(stage),
            "signal_delay_s": self.signal_seconds,
            "array_parallelism": self.parallel,
            "setup": list(self.setup) or None,
            "srun_args": list(self.srun_args) or None,
        }
        further = {name.replace("_", "-"): value for name, value in self.extra.items()}
        if self.reservation is not None:
            further["reservation"] = self.reservation
        if further:
            asked["additional_parameters"] = further
        return {f"slurm_{name}": value for name, value in asked.items() if value is not None}


_KEYS = {
    "partition": "partition", "account": "account", "qos": "qos", "constraint": "constraint",
    "exclude": "exclude", "nodelist": "nodelist", "reservation": "reservation", "gres": "gres",
    "gpus": "gpus", "gpus-per-node": "gpus", "cpus-per-task": "cpus", "mem": "memory_gb",
    "time": "minutes", "signal": "signal_seconds", "nodes": "nodes", "comment": "comment",
    "ntasks-per-node": "tasks_per_node",
}  # fmt: skip
"""Option of sbatch -> the key that says it."""


class Site(Resources):
    """A cluster, as its site file describes it: resources of all jobs, and of single stages."""

    name: str = ""
    """None given: that of the file."""
    prepare: Resources | None = None
    """What is different for the jobs that fill the cache."""
    pretrain: Resources | None = None
    finetune: Resources | None = None

    def resources(self, stage: Stage) -> Resources:
        """Return what jobs of a stage ask for: all that is said, the stage's own words last."""
        values = {name: getattr(self, name) for name in Resources.model_fields}
        section: Resources | None = getattr(self, stage)
        if section is not None:
            own = {name: getattr(section, name) for name in section.model_fields_set}
            if own.keys() & {"gpus", "gres"}:
                values |= {"gpus": None, "gres": None}
            values |= own
        return Resources(**values)

    def elsewhere(self) -> Elsewhere:
        """Say what the jobs of a plan compute on.

        Raises:
            BenchError: Encoders would be made on GPUs and cells run without, or the other way.
        """
        from medssl_bench.training import Elsewhere

        pretrain, finetune = self.resources("pretrain"), self.resources("finetune")
        if bool(pretrain.gpus_per_node) != bool(finetune.gpus_per_node):
            raise BenchError(
                f"site {self.name}: of pretrain and finetune one asks for GPUs and one does not;"
                " a plan computes on one kind of device"
            )
        devices = pretrain.nodes * pretrain.tasks("pretrain")
        return Elsewhere("cuda" if pretrain.gpus_per_node else "cpu", pretrain.cpus, devices)


def site_names() -> list[str]:
    """Names of the sites that come with the package."""
    folder = resources.files("medssl_bench.slurm") / "sites"
    return sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml"))


def load_site(spec: str | Path) -> Site:
    """Read a site file: a path, or a name of :func:`site_names`.

    Raises:
        BenchError: An unknown name or key (the nearest is offered), or a value that does not fit;
            one line that names the file.
    """
    path = Path(spec).expanduser()
    if path.suffix not in (".yaml", ".yml") and len(path.parts) == 1 and not path.is_file():
        if str(spec) not in site_names():
            raise BenchError(
                f"unknown site {str(spec)!r}.{did_you_mean(str(spec), site_names())} Give a file,"
                f" or one of {', '.join(site_names())}"
            )
        with resources.as_file(resources.files("medssl_bench.slurm") / "sites") as folder:
            return _read(folder / f"{spec}.yaml")
    return _read(path)


def _read(path: Path) -> Site:
    site = validate(read_mapping(path) or {}, Site, path)
    for stage in STAGES:
        try:
            site.resources(stage)
        except ValueError as error:
            first = str(error.errors()[0]["msg"]) if hasattr(error, "errors") else str(error)
            message = first.removeprefix("Value error, ")
            raise BenchError(f"{path}: {stage}: {message}") from None
    return site if site.name else site.model_copy(update={"name": path.stem})
