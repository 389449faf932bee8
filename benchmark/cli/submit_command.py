"""``bench submit``: records into one file that can be handed in."""

from __future__ import annotations

import json
from pathlib import Path

import click

EPILOG = """\b
Examples:
  bench submit --results bench-results --out mine.zip --name "Ann Lee" --licence CC-BY-4.0
  bench submit --results bench-results --tasks amos_ct,kits --out mine.zip
  bench submit --results bench-results --out mine.zip --predictions preds --references labelsTs

\b
docs/submit.md says what is checked and what a bundle contains.
Exit codes: 0 written, 1 findings and nothing written, 2 wrong usage.
"""


@click.command("submit", epilog=EPILOG, short_help="Check records and bundle them.")
@click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE.zip")
@click.option("--tasks", metavar="NAME[,NAME]", help="Only these [default: all]")
@click.option("--name", help="Who hands in; published")
@click.option("--licence", help="Under which the numbers may be published, such as CC-BY-4.0")
@click.option("--notes", help="Anything a reader should know; published")
@click.option(
    "--unchecked-leaks", metavar="REASON",
    help="Why nobody looked for test cases in a corpus (bench data audit does); published",
)  # fmt: skip
@click.option("--allow-paths", is_flag=True, help="Publish paths of this machine that records hold")
@click.option(
    "--pictures", is_flag=True,
    help="Include slices of test cases; look at the licence of the scans first",
)  # fmt: skip
@click.option(
    "--predictions", type=click.Path(path_type=Path), metavar="DIR",
    help="Measure cells again from DIR/<cell's folder name>/<case>.nii.gz",
)  # fmt: skip
@click.option(
    "--references", multiple=True, metavar="[TASK=]DIR",
    help="Label maps <case>.nii.gz that predictions are measured against; repeatable",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON")
@click.option("--plain", is_flag=True, default=None, help="Plain progress lines, no bars")
def command(
    results: Path | None,
    out: Path,
    tasks: str | None,
    name: str | None,
    licence: str | None,
    notes: str | None,
    unchecked_leaks: str | None,
    allow_paths: bool,
    pictures: bool,
    predictions: Path | None,
    references: tuple[str, ...],
    as_json: bool,
    plain: bool | None,
) -> int:
    """Check the records of a results folder and write them into one bundle.

    A bundle holds record.json, the tables and checksums of each cell, the loss curves of their
    pretrainings and the audits that concern them; no weights, no scans, and pictures only where
    you ask for them. Ids of cases are in it. The same records give the same bytes.
    """
    from pydantic import ValidationError

    from medssl_bench.errors import BenchError
    from medssl_bench.progress import Progress
    from medssl_bench.records.finding import as_table
    from medssl_bench.records.manifest import Submitter
    from medssl_bench.records.recheck import parse_references
    from medssl_bench.records.submit import Options, submit
    from medssl_bench.validation import check_writable
    from medssl_bench.workspace import load_workspace

    if (predictions is None) != (not references):
        raise BenchError("--predictions and --references belong together; give both")
    if out.is_dir():
        raise BenchError(f"--out {out}: a folder; name a file such as {out / 'mine.zip'}")
    if unchecked_leaks is not None and not unchecked_leaks.strip():
        raise BenchError("--unchecked-leaks: say why nobody looked; the reason is published")
    try:
        submitter = Submitter(name=name, licence=licence, notes=notes)
    except ValidationError as error:
        first = error.errors()[0]
        raise BenchError(f"--{first['loc'][0]}: {first['msg']}") from None
    check_writable(out.parent)
    options = Options(
        submitter=submitter,
        tasks=tuple(word.strip() for word in tasks.split(",")) if tasks else (),
        unchecked_leaks=unchecked_leaks,
        paths_allowed=allow_paths,
        pictures=pictures,
        predictions=predictions,
        references=parse_references(references),
    )
    with Progress(plain, quiet=as_json) as progress:
        outcome = submit(results or load_workspace().results, out, options, progress.emit)
    written = outcome.sha256 is not None
    if as_json:
        document = {
            "records": outcome.records,
            "findings": [finding.document() for finding in outcome.findings],
            "bundle": str(out) if written else None,
            "sha256": outcome.sha256,
            "measured_from_predictions": outcome.rechecked,
        }
        click.echo(json.dumps(document, indent=1))
    elif written:
        again = f", {outcome.rechecked} measured again from predictions"
        click.echo(
            f"wrote {out}: {outcome.records} records{again * (predictions is not None)},"
            f" {out.stat().st_size:,} bytes\nsha256 {outcome.sha256}"
        )
    else:
        click.echo(as_table(outcome.findings))
        click.echo(f"\n{len(outcome.findings)} findings in {outcome.records} records; no bundle")
    return int(not written)
