"""The page of one case: scan, reference and prediction in NiiVue, in one file without network.

NiiVue is taken from the installed ``ipyniivue``, whose widget carries the library once more as
text, for the documents that NiiVue itself saves; that text is the ES module of NiiVue's release.
"""

from __future__ import annotations

import base64
import importlib.util
import math
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.volume import Volume
from medssl_bench.errors import BenchError
from medssl_bench.label_maps import encode
from medssl_bench.stages.slices import COLOURS
from medssl_bench.viewer.chosen import Chosen

INSTALL = "pip install 'medssl-bench[view]'"

ERRORS = {
    1: ("false positive", "#dc267f"),
    2: ("false negative", "#648fff"),
    3: ("wrong target", "#ffb000"),
}
"""Kinds of wrong voxel and their colours (IBM's palette, safe for colour-blind readers)."""

CT_WINDOWS = {
    "soft tissue": (40, 400),
    "liver": (60, 160),
    "lung": (-600, 1500),
    "bone": (400, 1800),
    "brain": (40, 80),
}
"""Level and width in HU, as radiologists commonly set them."""

_NIIVUE = re.compile(r'"([^"]*export%7B[^"]*%2CNiivue%2C[^"]*)"')


@dataclass(frozen=True)
class Written:
    """A page that was written."""

    path: Path
    size: int
    """Bytes."""


def niivue() -> str:
    """Return NiiVue as the text of a module that leaves its class in ``globalThis.Niivue``.

    Raises:
        BenchError: ``ipyniivue`` is missing, or of a version that holds no such text.
    """
    spec = importlib.util.find_spec("ipyniivue")
    if spec is None or spec.origin is None:
        raise BenchError(f"bench view needs ipyniivue, which brings NiiVue: {INSTALL}")
    bundle = Path(spec.origin).parent / "static" / "widget.js"
    found = _NIIVUE.search(bundle.read_text("utf-8")) if bundle.is_file() else None
    if found is None:
        version = metadata.version("ipyniivue")
        raise BenchError(f"ipyniivue {version} holds no NiiVue that stands alone: {INSTALL}")
    return unquote(found[1]) + "\nglobalThis.Niivue = Niivue;"


def thinned(chosen: Chosen, largest: int | None) -> tuple[Chosen, tuple[int, int, int]]:
    """Keep every k-th voxel along axes longer than ``largest``; returns the k of each axis."""
    x, y, z = (
        1 if largest is None else math.ceil(side / largest) for side in chosen.scan.array.shape
    )
    if (x, y, z) == (1, 1, 1):
        return chosen, (1, 1, 1)
    starts = (x // 2, y // 2, z // 2)
    every = tuple(slice(start, None, k) for start, k in zip(starts, (x, y, z), strict=True))
    affine = chosen.scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ starts
    affine[:3, :3] *= (x, y, z)
    scan = Volume(chosen.scan.array[every], affine)
    thin = replace(
        chosen,
        scan=scan,
        reference=chosen.reference[every],
        prediction=chosen.prediction[every],
    )
    return thin, (x, y, z)


def errors(reference: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mark wrong voxels by their kind, the keys of ``ERRORS``."""
    wrong = reference != prediction
    kind = np.where(reference == 0, 1, np.where(prediction == 0, 2, 3))
    return np.where(wrong, kind, 0).astype(np.uint8)


def scan_bytes(scan: Volume) -> bytes:
    """Encode a scan as int16: its whole numbers as they are, others in steps of its range."""
    array = np.asarray(scan.array)
    low, high = float(array.min()), float(array.max())
    whole = np.issubdtype(array.dtype, np.integer) or bool((array == np.rint(array)).all())
    if whole and low >= -(2**15) and high < 2**15:
        return encode(array.astype(np.int16), scan.affine)
    slope = (high - low) / (2**16 - 1) or 1.0
    offset = low + 2**15 * slope
    return encode(np.rint((array - offset) / slope).astype(np.int16), scan.affine, slope, offset)


def render(chosen: Chosen, largest: int | None = None) -> str:
    """Return the page of a case as HTML.

    Args:
        chosen: What it shows.
        largest: Voxels along any axis; more are thinned, and the page says so. None: all.

    Raises:
        BenchError: NiiVue is not installed.
    """
    from jinja2 import Environment, PackageLoader

    library = niivue()
    shown, every = thinned(chosen, largest)
    volumes = {
        "scan": scan_bytes(shown.scan),
        "reference": encode(shown.reference, shown.scan.affine),
        "prediction": encode(shown.prediction, shown.scan.affine),
        "errors": encode(errors(shown.reference, shown.prediction), shown.scan.affine),
    }
    loader = Environment(
        loader=PackageLoader("medssl_bench.viewer", "."), autoescape=True, trim_blocks=True
    )
    script = resources.files("medssl_bench.viewer").joinpath("page.js").read_text("utf-8")
    return loader.get_template("page.html").render(
        record=chosen.record,
        cell=chosen.record.cell,
        case=chosen.case,
        channel=chosen.channel if len(chosen.task.channels) > 1 else None,
        targets=_targets(chosen, shown),
        errors=ERRORS,
        every="x".join(map(str, every)) if every != (1, 1, 1) else None,
        volumes={name: base64.b64encode(content).decode() for name, content in volumes.items()},
        settings=_settings(shown),
        niivue=library,
        script=script,
    )


def _settings(chosen: Chosen) -> dict[str, Any]:
    """What the script needs to know, as plain data."""
    labels = {number: [name, _colour(number)] for number, name in chosen.task.classes.items()}
    return {
        "labels": labels,
        "errors": ERRORS,
        "windows": _windows(chosen),
        "start": _place(chosen, chosen.reference > 0, chosen.prediction > 0),
    }


def _windows(chosen: Chosen) -> list[tuple[str, float, float]]:
    """Name, lowest and highest value shown; first what the network saw."""
    rule = chosen.task.preprocessing.intensity
    array = np.asarray(chosen.scan.array, np.float32)
    low, high = rule.low, rule.high
    if rule.rule == "percentile":
        low, high = (float(value) for value in np.percentile(array, (low, high)))
    windows = [("as the network saw it", low, high)]
    if chosen.task.modality == "CT":
        windows += [
            (name, level - width / 2, level + width / 2)
            for name, (level, width) in CT_WINDOWS.items()
        ]
    return [*windows, ("whole range", float(array.min()), float(array.max()))]


def _targets(chosen: Chosen, shown: Chosen) -> list[dict[str, Any]]:
    """One row a target: its colours, its numbers in the record and where it lies in ``shown``."""
    rows = chosen.rows.set_index("target").to_dict("index")
    return [
        {
            "name": name,
            "colours": [_colour(number) for number in ids],
            **{metric: _number(rows[name][metric]) for metric in ("dice", "hd95")},
            "status": rows[name]["status"],
            "place": _place(shown, np.isin(shown.reference, ids), np.isin(shown.prediction, ids)),
        }
        for name, ids in chosen.task.targets.items()
    ]


def _colour(number: int) -> str:
    red, green, blue = COLOURS[(number - 1) % len(COLOURS)].astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _place(
    chosen: Chosen, reference: NDArray[np.bool_], prediction: NDArray[np.bool_]
) -> list[float] | None:
    """Return the voxel nearest the middle of the reference (or else prediction), in RAS+ mm."""
    mask = reference if reference.any() else prediction
    voxels = np.argwhere(mask)
    if not len(voxels):
        return None
    spacing = chosen.scan.header.spacing
    distance = (((voxels - voxels.mean(0)) * spacing) ** 2).sum(1)
    place = chosen.scan.affine @ [*voxels[distance.argmin()], 1]
    return [float(value) for value in place[:3]]


def write(html: str, path: Path) -> Written:
    """Write the page whole, or leave what was there; raises BenchError where it cannot be."""
    from medssl_bench.durable import temporary_name

    content = html.encode("utf-8")
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise BenchError(f"--out {path}: cannot be written ({error.strerror})") from None
    finally:
        with suppress(OSError):  # said above, where it matters
            temporary.unlink(missing_ok=True)
    return Written(path, len(content))
