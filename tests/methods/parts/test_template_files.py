"""Templates as NIfTI: written, read back, and refused."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from medssl_bench.cli.export_command import command
from medssl_bench.errors import BenchError
from medssl_bench.methods.brainmvp import BrainMVP
from medssl_bench.methods.parts.template_files import (
    check_templates,
    read_templates,
    write_templates,
)
from medssl_bench.store import Store

SHAPE = (6, 7, 5)


def templates(*names: str) -> dict[str, torch.Tensor]:
    made = {}
    for number, name in enumerate(names):
        volume = torch.rand(SHAPE, generator=torch.Generator().manual_seed(number))
        made[name] = (volume - volume.min()) / (volume.max() - volume.min())
    return made


def test_what_is_written_is_read_whatever_its_orientation(tmp_path: Path) -> None:
    made = templates("T1", "FLAIR")
    files = write_templates(tmp_path, made, (3.0, 2.0, 1.5))
    assert [path.name for path in files] == ["T1.nii.gz", "FLAIR.nii.gz"]
    image = nib.load(files[0])
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    middle = image.affine @ [*((np.array(SHAPE) - 1) / 2), 1]
    assert np.allclose(middle[:3], 0)
    flipped = image.as_reoriented(nib.orientations.axcodes2ornt("LPS"))
    nib.save(flipped, files[0])
    found, spacing = read_templates(tmp_path)
    assert spacing == pytest.approx((3.0, 2.0, 1.5))
    assert all(torch.allclose(found[name], volume, atol=1e-6) for name, volume in made.items())
    with pytest.raises(BenchError, match="there is such a file already"):
        write_templates(tmp_path, made, None)


def test_a_template_of_another_shape_is_named(tmp_path: Path) -> None:
    write_templates(tmp_path, templates("FLAIR", "T1"), (1.0, 1.0, 1.0))
    write_templates(tmp_path, {"T2": torch.rand(6, 7, 4)}, (1.0, 1.0, 1.0))
    for read in (check_templates, read_templates):
        with pytest.raises(BenchError) as told:
            read(tmp_path)
        assert str(told.value) == (
            f"{tmp_path}/T2.nii.gz: 6x7x4 voxels of 1x1x1 mm, but FLAIR.nii.gz has 6x7x5 voxels of"
            " 1x1x1 mm; the templates of a folder are on one grid"
        )


def test_what_is_no_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no .nii.gz files in .*; `bench export --to templates`"):
        read_templates(tmp_path / "nowhere")
    write_templates(tmp_path, {"T1": torch.ones(SHAPE)}, None)
    with pytest.raises(BenchError, match=r"T1.nii.gz: a template must be finite and not the same"):
        read_templates(tmp_path)
    (tmp_path / "T1.nii.gz").write_bytes(b"no image")
    with pytest.raises(BenchError, match="T1.nii.gz"):
        check_templates(tmp_path)


def test_a_folder_takes_the_place_of_what_was_learned(tmp_path: Path) -> None:
    made = templates("T1", "FLAIR")
    write_templates(tmp_path, made, (2.0, 2.0, 2.0))
    config = {
        "tuning": {"folder": str(tmp_path)}, "modalities": ("T2",), "lambda_md": 1.0,
        "lambda_cl": 1.0, "contrast_from": 0.5, "template_only": 0.0,
    }  # fmt: skip
    pretrained = (("T2",), (4, 4, 4))
    words = BrainMVP.tuning_words(config, ("T1", ""), *pretrained)
    assert words == f"templates folder={check_templates(tmp_path)[:12]}"
    assert BrainMVP.tuning_words(config, ("T2",), *pretrained) == ""  # the folder has none of it
    learned = {"T1": torch.zeros(SHAPE).half()}
    tuning = BrainMVP.tuning(config, ("T1", ""), learned, (1.0, 1.0, 1.0), (4, 4, 4))
    assert tuning.spacing == pytest.approx((2.0, 2.0, 2.0))
    assert torch.allclose(tuning.templates["T1"], made["T1"], atol=1e-6)
    (tmp_path / "T1.nii.gz").unlink()
    write_templates(tmp_path, {"T1": made["FLAIR"]}, (2.0, 2.0, 2.0))
    assert BrainMVP.tuning_words(config, ("T1", ""), *pretrained) != words


def test_bench_export_writes_the_templates_of_a_pretraining(tmp_path: Path) -> None:
    import pandas as pd

    store, made = Store(tmp_path / "results"), templates("T1", "FLAIR")
    rule = {"spacing": [3.0, 3.0, 3.0]}
    info = {
        "method": "brainmvp", "backbone": "uniformer_tiny", "preprocessing": {"T1": rule},
        "settings": {}, "corpus": "phantom_brain",
    }  # fmt: skip
    halves = {name: volume.half() for name, volume in made.items()}
    state, history = {"weight": torch.zeros(2)}, pd.DataFrame({"step": [1], "loss": [0.5]})
    for key, extras in (("a" * 64, halves), ("b" * 64, None)):
        store.write_pretraining(key, info, state, history, extras)
    words = ["--to", "templates", "--results", str(store.root), "--checkpoint"]
    done = CliRunner().invoke(command, [*words, "aaaa", "--out", str(tmp_path / "out")])
    assert done.exception is None, done.output
    assert "wrote 2 templates to" in done.output
    found, spacing = read_templates(tmp_path / "out")
    assert spacing == pytest.approx((3.0, 3.0, 3.0))
    assert torch.allclose(found["FLAIR"], made["FLAIR"], atol=1e-3)
    none = CliRunner().invoke(command, [*words, "bbbb"])
    assert "brainmvp keeps no templates beside the encoder" in str(none.exception)
    file = store.pretraining_folder("a" * 64) / "extras.safetensors"
    file.write_bytes(file.read_bytes()[:-3] + b"xyz")
    damaged = CliRunner().invoke(command, [*words, "aaaa", "--out", str(tmp_path / "other")])
    assert isinstance(damaged.exception, BenchError)
    assert "extras.safetensors is not as it was written" in str(damaged.exception)
