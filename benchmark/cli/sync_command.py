"""``bench sync``: copy records to MLflow."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  bench sync --results /shared/bench-results
  MLFLOW_TRACKING_URI=http://mlflow.example.org bench sync

\b
Jobs of a cluster track to a server by themselves where MLFLOW_TRACKING_URI is one; without a server
nothing is written on the nodes, and this copies all records into the results folder's mlflow.db.
"""


@click.command("sync", epilog=EPILOG, short_help="Copy records to MLflow.")
@click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]")
def command(results: Path | None) -> int:
    """Copy every record that MLflow lacks, to MLFLOW_TRACKING_URI or into the results folder."""
    from medssl_bench.cli.submitted import results_folder
    from medssl_bench.errors import BenchError
    from medssl_bench.store import Store
    from medssl_bench.tracking import sync_alone, tracking_uri

    root = results_folder(results)
    Store(root, read_only=True)
    copied = sync_alone(root)
    if copied is None:
        raise BenchError(f"{root}: another process copies to MLflow at the moment; try again")
    click.echo(f"{copied} records copied to {tracking_uri(root)}")
    return 0
