"""What a plan refuses of its settings before any data is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medssl_bench import registry
from medssl_bench.config import Settings
from medssl_bench.errors import BenchError
from medssl_bench.keys import method_config

if TYPE_CHECKING:
    from medssl_bench.task import Task


def check_method_settings(settings: Settings) -> None:
    """Refuse settings of methods or keys that do not exist."""
    for name, values in settings.methods.items():
        registry.methods.entry(name)
        method_config(name, values)


def check_crops(
    settings: Settings, tasks: Sequence[Task], *, pretrains: bool, own: str | None = None
) -> None:
    """Every side of every crop must be a multiple of the backbone's total stride.

    ``own`` is the backbone of a method that brings one.
    """
    backbone = own or settings.backbone
    info = registry.backbones.entry(backbone).info
    multiple = int(info.get("crop_multiple", info.get("total_stride", 1)))
    crops = {"pretrain.crop": settings.pretrain.crop} if pretrains else {}
    for task in tasks:
        crops |= dict([_named_crop(settings, task)])
    for name, crop in crops.items():
        if any(side % multiple for side in crop):
            shown = "x".join(map(str, crop))
            raise BenchError(
                f"{name} {shown}: backbone {backbone} needs sides that are"
                f" multiples of {multiple}; change the crop or choose another backbone"
            )


def check_coarsest(settings: Settings, tasks: Sequence[Task], backbone: str) -> None:
    """A crop that is one voxel at the coarsest level has nothing for an instance norm to keep."""
    info = registry.backbones.entry(backbone).info
    if info.get("decoder", {}).get("norm") != "instance":
        return
    for task in (task for task in tasks if not task.classifies):
        name, crop = _named_crop(settings, task)
        if all(side <= int(info.get("total_stride", 0)) for side in crop):
            raise BenchError(
                f"{name} {'x'.join(map(str, crop))}: it is one voxel at the coarsest level of"
                f" {backbone}, which an instance norm turns to zero; take a larger crop or another"
                " backbone"
            )


def _named_crop(settings: Settings, task: Task) -> tuple[str, tuple[int, int, int]]:
    """Return a task's crop, and where it is said."""
    own = settings.finetune.crop is None or task.classifies
    name = f"crop of task {task.name}" if own else "finetune.crop"
    return name, settings.finetune.crop_of(task)


def check_probed(what: str, task: Task) -> None:
    """A probe asks which organs crops show, of encoders as they were pretrained: on one channel."""
    if task.classifies:
        raise BenchError(
            f"{what}: {task.name} classifies whole volumes and has no labels that tell what a crop"
            " shows; take a segmentation task"
        )
    if len(task.channels) > 1:
        raise BenchError(
            f"{what}: {task.name} has {len(task.channels)} channels, encoders are pretrained on"
            " one; take a task of one channel"
        )
