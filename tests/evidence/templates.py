"""Do templates come to look like their contrast? python tests/evidence/templates.py RESULTS [OUT]

For every recorded pretraining of BrainMVP on brain phantoms: the correlation over voxels of each
picture kept over training with the same slice of the corpus's mean, every volume laid middle on
middle, where any volume reaches; and of the whole template at the end. With OUT, the pictures in
order of their steps with the mean slice last, a row for each contrast, as OUT/KEY.png. A
pretraining in which each voxel is met often enough, in 25 minutes of one core:

    bench pretrain --methods brainmvp --corpus coarse_brain --backbone uniformer_tiny \\
      --plugin tests/evidence/coarse_brain.py --profile demo --results RESULTS \\
      --set pretrain.steps=5000 \\
      --set pretrain.batch=4 --set pretrain.crop=[24,24,24] \\
      --set methods.brainmvp.template=[30,36,32]
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import coarse_brain  # of this folder; it registers its corpus
import numpy as np
import torch
from PIL import Image

from medssl_bench.method import Place
from medssl_bench.methods.parts.templates import cut, offsets
from medssl_bench.preparation import open_prepared
from medssl_bench.registry import corpora
from medssl_bench.store import Store

CORPORA = ("phantom_brain", coarse_brain.corpus.name)
ENLARGED = 4
"""Pixels of the pictures of a coarse grid, each way."""


def corpus_means(
    name: str, cases: list[str], cache: Path, shape: tuple[int, int, int]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the mean of each contrast on a template's grid, and where any volume reaches."""
    corpus = corpora.load(name)
    wanted = [case for case in corpus.cases(None) if case.id in set(cases)]
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    reach = np.zeros(shape, bool)
    for volume in open_prepared(corpus, wanted, cache).take([case.id for case in wanted]):
        start = offsets(Place((0, 0, 0), volume.shape), shape)
        back = tuple(-at for at in start)
        reach |= cut(torch.ones(volume.shape), back, shape).numpy() > 0
        for name, image in zip(volume.channels, volume.image(), strict=True):
            laid = cut(torch.from_numpy(image.astype(np.float32)), back, shape).numpy()
            sums[name] = sums.get(name, 0) + laid
            counts[name] = counts.get(name, 0) + 1
    return {name: total / counts[name] for name, total in sums.items()}, reach


def correlation(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    """Return Pearson's correlation over the voxels ``where``."""
    return float(np.corrcoef(one[where].astype(float), other[where].astype(float))[0, 1])


def main(results: Path, out: Path | None) -> None:
    """Print the table of every pretraining."""
    store = Store(results, read_only=True)
    for info in store.pretrainings():
        if info["method"] != "brainmvp" or info["corpus"] not in CORPORA:
            continue
        extras, folder = store.read_extras(info["key"]), store.pretraining_folder(info["key"])
        shape = tuple(next(iter(extras.values())).shape)
        means, reach = corpus_means(info["corpus"], info["corpus_cases"], results / "cache", shape)
        middle = shape[2] // 2
        steps, cases = info["cost"]["steps"], info["corpus_cases"]
        print(f"{info['key'][:12]}: {steps} steps on {len(cases)} cases")
        rows = []
        for name, mean in sorted(means.items()):
            row, line = {}, {}
            for path in folder.glob(f"pictures/{name}_*.png"):
                step = int(re.findall(r"_(\d+)\.png", path.name)[0])
                shown = np.asarray(Image.open(io.BytesIO(path.read_bytes())))
                line[step] = shown
                picture = shown[::-1, ::-1].T  # back to R and A
                row[step] = correlation(picture, mean[:, :, middle], reach[:, :, middle])
            whole = correlation(extras[name].float().numpy(), mean, reach)
            told = "  ".join(f"{step}: {row[step]:+.2f}" for step in sorted(row))
            print(f"  {name:5} {told}  whole: {whole:+.2f}")
            last = 255 * mean[:, :, middle].T[::-1, ::-1]
            rows.append(np.hstack([*(line[step] for step in sorted(line)), last]))
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            sheet = np.vstack(rows).astype(np.uint8)
            if min(shape) < 64:
                sheet = sheet.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
            Image.fromarray(sheet).save(out / f"{info['key'][:12]}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
