"""The ``bench`` command. Each command is a file here, imported only when it is called."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import Any

import click

from medssl_bench.errors import BenchError, did_you_mean

COMMANDS = {
    "run": "Pretrain, fine-tune, evaluate and record a grid of methods and tasks.",
    "sweep": "Run an experiment of several runs, from a file, here or on a cluster.",
    "pretrain": "Run only the pretraining, for later runs to start from.",
    "probe": "Say which organs frozen features tell of, next to a random encoder's.",
    "evaluate": "Score anybody's NIfTI predictions: Dice, HD95 and more.",
    "analyze": "Answer one question: which methods differ, rank, converge, and how surely?",
    "report": "Write the leaderboard page from recorded results.",
    "view": "Write a 3D viewer of a case: scan, reference and prediction.",
    "submit": "Check records and write the one file that hands them in.",
    "records": "Validate, merge and compare records of several folders or bundles.",
    "export": "Write a recorded encoder for MONAI, nnU-Net or safetensors.",
    "status": "Show what is recorded, queued, running and failed in a results folder.",
    "logs": "Show what the jobs of a cell wrote on a cluster.",
    "cancel": "Take jobs out of a cluster's queue.",
    "retry": "Submit again what failed on a cluster.",
    "sync": "Copy records to MLflow.",
    "list": "List methods, tasks, backbones, corpora or profiles.",
    "data": "Look at the data of tasks: what is there, what is missing.",
    "doctor": "Check versions, devices, threads, precision, disk and data.",
    "init": "Write bench.yaml, the defaults of this folder.",
}


class LazyGroup(click.Group):
    """Knows the commands by name and one line; imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's file."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"medssl_bench.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Offer the nearest name for an unknown command."""
        if args and args[0] not in COMMANDS:
            near = did_you_mean(args[0], COMMANDS)
            raise click.UsageError(f"unknown command {args[0]!r}.{near}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


EPILOG = """\b
Examples:
  bench run --profile demo --methods scratch,simmim,smit --tasks phantom_ct --shots 5,full
  bench run --methods smit,simmim --tasks amos_mri --shots 5,10,full
  bench report --results bench-results

\b
Exit codes: 0 done, 1 some cell failed, 2 wrong usage.
"""


@click.command(
    cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="medssl-bench", prog_name="bench")
def bench() -> None:
    """Which self-supervised pretraining works for my medical images, with my few labels?

    Pretrains SSL methods on one corpus, fine-tunes each on your tasks with few and many labels,
    measures, and publishes a leaderboard.
    """


_NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""Raised by click 8.2 and later; before, it prints the help itself."""


def main() -> None:
    """Entry point of the ``bench`` script: errors are one line and exit code 2."""
    # What libraries announce of their own futures is no news for whoever runs a command.
    warnings.filterwarnings("ignore", category=FutureWarning)
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")  # of worker processes
    try:
        sys.exit(bench.main(prog_name="bench", standalone_mode=False) or 0)
    except BenchError as error:
        click.echo(f"bench: {_one_line(str(error))}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        _show(error)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("bench: interrupted; run the same command again to go on", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


def _show(error: click.ClickException) -> None:
    """Print a fault of usage as one line; a command group without a command prints its help."""
    if isinstance(error, _NO_ARGUMENTS):
        error.show()
        return
    context = getattr(error, "ctx", None)
    hint = f"; see `{context.command_path} --help`" if context is not None else ""
    message = _one_line(error.format_message())
    click.echo(f"bench: {message.removesuffix('.') if hint else message}{hint}", err=True)


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines())
