"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_CHOOSING = (
    click.option("--profile", help="demo | quick | paper [default: bench.yaml's, else quick]"),
    click.option("--corpus", help="NAME or folder:PATH[,PATH]"),
    click.option(
        "--corpus-size",
        type=click.IntRange(0),
        metavar="N",
        help="Scans of the corpus to use; smaller subsets lie in larger ones, 0 is scratch",
    ),
    click.option(
        "--exclude-leaks",
        is_flag=True,
        help="Leave out volumes in which `bench data audit` found test cases",
    ),
    click.option("--backbone", help="See `bench list backbones`"),
    click.option(
        "--crop",
        type=click.IntRange(1),
        metavar="N",
        help="Side of the cubic crops in voxels, of pretraining and fine-tuning (SMIT128: 128)",
    ),
    click.option("--pretrain-seed", type=click.IntRange(0), help="Seed of pretraining"),
    click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]"),
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
    ),
)
_WORKING = (
    click.option(
        "--devices",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Devices that share each pretraining (CPU: processes)",
    ),
    click.option(
        "--workers",
        "--jobs",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Processes on this machine that share the work, and its GPUs",
    ),
    click.option(
        "--executor",
        type=click.Choice(["local", "slurm"]),
        default="local",
        show_default=True,
        help="Run here, or submit jobs to SLURM and return",
    ),
    click.option(
        "--site",
        metavar="NAME|FILE",
        help="How jobs are asked for [default: bench.yaml's]; implies --executor slurm",
    ),
    click.option("--dry-run", is_flag=True, help="Validate and print the plan, start nothing"),
    click.option(
        "--calibrate", is_flag=True, help="Time a few steps to say how long the plan takes"
    ),
)
_OTHERS = (
    click.option(
        "--set", "assignments", multiple=True, metavar="KEY.PATH=VALUE", help="Any setting"
    ),
    click.option(
        "--plugin",
        "plugins",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A Python file that registers methods, tasks, backbones or corpora",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the plan or outcome as JSON"),
    click.option("--plain", is_flag=True, help="Plain progress lines, no bars"),
)


def planning(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a plan that is carried out, after its own."""
    return _give(command, *_CHOOSING, *_WORKING, *_OTHERS)


def choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that decide what a plan holds, after its own."""
    return _give(command, *_CHOOSING, *_OTHERS)


def _give(command: Callable[..., Any], *options: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command
