"""``bench export``: a recorded encoder for MONAI, nnU-Net or anybody's safetensors reader."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

TARGETS = ("monai", "nnunet", "safetensors", "templates")
EPILOG = """\b
Examples:
  bench export --checkpoint 3f9a01 --to monai
  bench export --checkpoint bench-results/pretraining/KEY --to safetensors --out smit.safetensors
  bench export --checkpoint 7dd44b --to templates --out templates   (brainmvp's, as NIfTI)

\b
`bench status` lists the keys. A card in Markdown is written beside the file.
Exit codes: 0 done, 2 wrong usage, or a network that the other side cannot build.
"""


@click.command("export", epilog=EPILOG, short_help="Write an encoder for other software.")
@click.option(
    "--checkpoint", required=True, metavar="KEY|DIR",
    help="A pretraining: its key, the start of it, or its folder",
)  # fmt: skip
@click.option("--to", required=True, type=click.Choice(TARGETS), help="Who is to load it")
@click.option("--out", type=click.Path(path_type=Path), help="A file or folder [default: here]")
@click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers the backbone",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print as JSON")
def command(
    checkpoint: str,
    to: str,
    out: Path | None,
    results: Path | None,
    plugins: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Write a recorded encoder as a file that the other side loads, with a card."""
    from medssl_bench.export import export_encoder
    from medssl_bench.registry import load_plugins
    from medssl_bench.workspace import load_workspace

    load_plugins(plugins)
    if to == "templates":
        from medssl_bench.export import export_templates

        files = export_templates(checkpoint, out, results or load_workspace().results)
        if as_json:
            click.echo(json.dumps({"to": to, "files": [*map(str, files)]}, indent=1))
        else:
            click.echo(f"wrote {len(files)} templates to {files[0].parent}: "
                       + ", ".join(path.name for path in files))  # fmt: skip
        return 0
    done = export_encoder(checkpoint, to, out, results or load_workspace().results)
    if as_json:
        click.echo(json.dumps({"to": to, **asdict(done)}, indent=1, default=str))
        return 0
    click.echo(f"wrote {done.file} ({done.method} on {done.backbone})")
    click.echo(f"its card is {done.card}")
    return 0
