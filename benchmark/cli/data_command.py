"""``bench data``: what there is of the data of tasks and corpora, and whether it is sound."""

from __future__ import annotations

import click

from medssl_bench.cli.data import audit, export_nnunet, prepare, show, split, status, synth, verify


@click.group("data", short_help="Look at the data of tasks and corpora.")
def command() -> None:
    """Look at the data of tasks and corpora: what is there, missing or wrong, what it shows.

    NAME is that of a task, or of a corpus where no task has it; corpus:NAME is always the corpus.
    """


for part in (status, verify, audit, prepare, split, show, synth, export_nnunet):
    command.add_command(part.command)
