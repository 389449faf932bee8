"""Exports: a recorded encoder as files that MONAI, nnU-Net or anybody's safetensors reader load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medssl_bench.durable import create_once
from medssl_bench.errors import BenchError, CaseError, did_you_mean
from medssl_bench.export_formats import FORMATS
from medssl_bench.model_card import write_card
from medssl_bench.networks import build_encoder
from medssl_bench.record import folder_name
from medssl_bench.store import Store


@dataclass(frozen=True)
class Export:
    """The files of an export."""

    file: Path
    card: Path
    key: str
    """Of the pretraining."""
    method: str
    backbone: str


def export_encoder(
    checkpoint: Path | str,
    to: str,
    out: Path | str | None = None,
    results: Path | str = "bench-results",
) -> Export:
    """Do what :func:`medssl_bench.export_encoder` promises."""
    if to not in FORMATS:
        raise BenchError(
            f"no export to {to!r}.{did_you_mean(to, FORMATS)} Known: {', '.join(FORMATS)}"
        )
    store, key = find_pretraining(checkpoint, Path(results))
    info = store.read_pretraining_info(key)
    encoder = build_encoder(info["backbone"], in_channels=info["in_channels"])
    try:
        encoder.load_state_dict(store.read_weights(key, info))
    except CaseError as error:
        raise BenchError(str(error)) from None
    name = f"{folder_name(info['method'])}-{info['backbone']}-{key[:8]}{FORMATS[to].suffix}"
    target = Path(out) if out is not None else Path()
    file = target / name if target.is_dir() else target
    card = file.with_name(f"{file.name}.md")
    for path in (file, card):
        if path.exists():
            raise _taken(path)
    content = FORMATS[to].write(encoder.eval(), info, file.name)
    text = write_card(store, info, content.usage, content.differences)
    for path, data in ((file, content.data), (card, text.encode())):
        _create(path, data)
    return Export(file, card, key, info["method"], info["backbone"])


def export_templates(
    checkpoint: Path | str,
    out: Path | str | None = None,
    results: Path | str = "bench-results",
) -> list[Path]:
    """Write the templates of a pretraining as NIfTI, one file for each contrast.

    Args:
        checkpoint: As for :func:`export_encoder`.
        out: A folder; by default one named after the pretraining, here.
        results: Where a key is looked up.

    Raises:
        BenchError: There is no such pretraining, it has no templates, or a file is in the way.
    """
    from medssl_bench.methods.parts.template_files import write_templates

    store, key = find_pretraining(checkpoint, Path(results))
    info = store.read_pretraining_info(key)
    try:
        extras = store.read_extras(key)
    except CaseError as error:
        raise BenchError(str(error)) from None
    if not extras:
        raise BenchError(f"{info['method']} keeps no templates beside the encoder; brainmvp does")
    name = f"{folder_name(info['method'])}-{info['backbone']}-{key[:8]}-templates"
    folder = Path(out) if out is not None else Path(name)
    return write_templates(folder, extras, pretrained_spacing(info))


def pretrained_spacing(info: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Return mm per voxel of the volumes pretrained on; None where they differ or are not known."""
    rules = (info.get("preprocessing") or {}).values()
    spacings = {rule["spacing"] and tuple(rule["spacing"]) for rule in rules}
    return spacings.pop() if len(spacings) == 1 else None


def find_pretraining(checkpoint: Path | str, results: Path) -> tuple[Store, str]:
    """Return the store and the key that ``checkpoint`` means, as for :func:`export_encoder`.

    Raises:
        BenchError: There is none, or the start of a key has several.
    """
    folder = Path(checkpoint)
    folder = folder.parent if folder.is_file() else folder
    if (folder / "pretraining.json").is_file():
        folder = folder.absolute()
        return Store(folder.parent.parent, read_only=True), folder.name
    if folder.is_dir():
        raise BenchError(f"{checkpoint}: no pretraining.json in it; see <results>/pretraining")
    store = Store(results, read_only=True)
    word = str(checkpoint)
    found = sorted(path.name for path in (store.root / "pretraining").glob("[0-9a-f]*"))
    found = [name for name in found if word and name.startswith(word)]
    if len(found) != 1:
        count = f"{len(found)} pretrainings" if found else "no pretraining"
        raise BenchError(
            f"{checkpoint}: {count} of this key in {results}; see `bench status`, or give a folder"
            " <results>/pretraining/<key>"
        )
    return store, found[0]


def _create(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        created = create_once(path, data)
    except OSError as error:
        raise BenchError(f"{path}: cannot be written ({error.strerror})") from None
    if not created:
        raise _taken(path)


def _taken(path: Path) -> BenchError:
    return BenchError(f"{path}: there is such a file already; choose another --out")
