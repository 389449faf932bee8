"""Wrong input: one clear line, exit code 2, nothing started and nothing lost."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

RUN = {"--methods": "scratch", "--tasks": "phantom_ct", "--shots": "5", "--profile": "demo"}


def words(**changes: str | Path) -> list[str]:
    """Return a whole ``bench run``; ``shots="x"`` replaces ``--shots``, and so on."""
    options = {**RUN, **{f"--{name.replace('_', '-')}": str(v) for name, v in changes.items()}}
    return ["run", *(word for pair in options.items() for word in pair)]


def refused(bench, *command: str | Path) -> str:
    """Return the one line of a command that is refused with code 2 and leaves nothing behind."""
    before = sorted(Path.cwd().rglob("*"))
    outcome = bench(*command)
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.line.startswith("bench: ")
    after = [path for path in sorted(Path.cwd().rglob("*")) if path.name != "digests.jsonl"]
    assert [path for path in after if path.is_file()] == [p for p in before if p.is_file()]
    return outcome.line


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"methods": "simmin"}, ["unknown method 'simmin'", "'simmim'", "bench list methods"]),
        ({"methods": "scratch,smiit"}, ["unknown method 'smiit'", "'smit'"]),
        ({"methods": "family:min"}, ["unknown family 'min'", "'mim'"]),
        ({"methods": "z*"}, ["no method matches 'z*'"]),
        ({"methods": ","}, ["no methods given"]),
        ({"tasks": "phantom_mr"}, ["unknown task 'phantom_mr'", "'phantom_mri'"]),
        ({"tasks": "phantom_ct,phantom_ct"}, ["'phantom_ct' is asked for twice"]),
        ({"tasks": ","}, ["no tasks given"]),
        ({"tasks": "nowhere/task.yaml"}, ["nowhere/task.yaml", "no such file"]),
        ({"profile": "quik"}, ["unknown profile 'quik'", "'quick'"]),
        ({"backbone": "swin_tny"}, ["unknown backbone 'swin_tny'", "'swin_tiny'"]),
        ({"methods": "simmim", "corpus": "fantom_ct"}, ["unknown corpus", "'phantom_ct'"]),
        ({"methods": "simmim", "corpus": "folder:/no/where"}, ["/no/where is no folder"]),
        ({"methods": "simmim", "corpus": "."}, ["unknown corpus '.'", "'folder:.'"]),
        ({"shots": "many"}, ["--shots 'many'", "not a number of cases"]),
        ({"shots": "-5"}, ["--shots '-5'", "not a number of cases"]),
        ({"shots": "2.5"}, ["--shots '2.5'"]),
        ({"shots": "0"}, ["--shots '0'", "at least one"]),
        ({"shots": "120%"}, ["--shots '120%'", "at most 100%"]),
        ({"shots": ","}, ["no shots given"]),
        ({"shots": "41"}, ["phantom_ct", "--shots 41", "only 40 training cases"]),
        ({"select": "best"}, ["select", "'last' or 'validation'"]),
        ({"draws": "0"}, ["--draws", "bench run --help"]),
        ({"device": "tpu"}, ["--device", "'auto', 'cpu', 'cuda'"]),
        ({"data": "/no/where"}, ["--data /no/where", "no such folder"]),
        ({"data": "phantom_tc=."}, ["unknown task or corpus 'phantom_tc'", "'phantom_ct'"]),
        ({"tasks": "amos_mri"}, ["amos_mri", "no data folder given", "--data", "amos22", "https:"]),
        ({"tasks": "amos_mri", "data": "."}, ["amos_mri", "imagesTr", "labelsTr", "https:"]),
        ({"plugin": "gone.py"}, ["--plugin gone.py", "no such file"]),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
)
def test_a_wrong_word_is_named_with_the_nearest_right_one(bench, changes, told):
    line = refused(bench, *words(**changes))
    for part in told:
        assert part in line


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("finetune.step=5", ["unknown setting 'finetune.step'", "'finetune.steps'"]),
        ("finetune.steps=many", ["finetune.steps", "integer", "'many'"]),
        ("finetune.steps=0", ["finetune.steps", "greater than or equal to 1"]),
        ("finetune.crop=[96, 96]", ["finetune.crop"]),
        ("finetune.crop=[50, 48, 48]", ["finetune.crop 50x48x48", "multiples of 16"]),
        ("finetune.crop=[16, 16, 16]", ["finetune.crop 16x16x16", "one voxel", "larger crop"]),
        ("pretrain.crop=[48, 48, 40]", ["pretrain.crop 48x48x40", "multiples of 16"]),
        ("finetune=5", ["finetune"]),
        ("finetune.steps", ["--set finetune.steps", "key.path=value"]),
        ("finetune.steps=[5", ["--set finetune.steps=[5"]),
        ("finetune.steps.more=5", ["finetune.steps.more"]),
        ("profile=paper", ["profile", "--profile"]),
        ("methods.simmin.ratio=0.5", ["unknown method 'simmin'", "'simmim'"]),
        ("methods.simmim.rato=0.5", ["'methods.simmim.rato'", "'methods.simmim.ratio'"]),
        ("methods.simmim.ratio=much", ["methods.simmim.ratio", "number"]),
        ("methods.simmim=5", ["methods.simmim"]),
        ("methods.simmim.ratio=1.5", ["simmim: ratio=1.5", "below 1"]),
        ("methods.simmim.cell=12", ["simmim: cell=12", "crop"]),
        ("corpus_size=1000", ["corpus_size 1000", "phantom_ct", "240", "corpus_size=null"]),
    ],
)
def test_a_wrong_setting_is_named(bench, assignment, told):
    line = refused(bench, *words(methods="simmim"), "--set", assignment)
    for part in told:
        assert part in line


@pytest.mark.parametrize(
    ("method", "assignment", "told"),
    [
        ("dino", "methods.dino.tau_s=0", ["dino: tau_s=0", "above 0"]),
        ("smit", "methods.smit.momentum_start=1.5", ["smit: momentum_start=1.5", "between 0 and"]),
        ("ibot", "methods.ibot.ratio=nan", ["ibot: ratio=nan", "above 0 and below 1"]),
        ("contrastive", "corpus_size=3", ["contrastive", "pretrain.batch 4", "the corpus has 3"]),
        ("swinunetr", "corpus_size=1", ["swinunetr", "pretrain.batch 4", "the corpus has 1"]),
    ],
)
def test_what_would_spoil_a_pretraining_is_refused(bench, method, assignment, told):
    line = refused(bench, *words(methods=method), "--set", assignment)
    for part in told:
        assert part in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device(bench):
    assert "bench doctor" in refused(bench, *words(device="cuda"))


def test_more_shots_than_cases_beside_those_of_validation(bench):
    line = refused(bench, *words(shots="39", select="validation"))
    assert "beside 2 for validation" in line and "38" in line


def test_faults_of_bench_yaml_name_file_and_key(bench):
    for text, told in [
        ("profil: demo", "'profile'"),
        ("draws: many", "draws"),
        ("- profile", "bench.yaml"),
        ("a: [", "not YAML"),
        ("profile: quik", "'quick'"),
        ("set: {finetune.step: 5}", "'finetune.steps'"),
    ]:
        Path("bench.yaml").write_text(text)
        line = refused(bench, "run", "--methods", "scratch", "--tasks", "phantom_ct")
        assert told in line, line


def test_faults_of_a_task_yaml_name_file_and_key(bench, write_task):
    path = write_task(Path("mine"), klasses=["cube"])
    line = refused(bench, *words(tasks=path, shots="1"))
    assert "mine/task.yaml: unknown key 'klasses'" in line and "'classes'" in line


def test_a_crop_that_does_not_fit_the_backbone(bench, write_task):
    path = write_task(Path("mine"), crop=[32, 32, 40])
    # The demo profile's own crop would hide the task's.
    line = refused(bench, *words(tasks=path, shots="1"), "--set", "finetune.crop=null")
    assert "crop of task cubes 32x32x40" in line and "multiples of 16" in line


def test_image_and_label_of_different_shape(bench, write_task, write_volume):
    path = write_task(Path("mine"))
    write_volume(Path("mine/labels/a1.nii.gz"), np.zeros((32, 32, 33), np.uint8))
    line = refused(bench, *words(tasks=path, shots="1"))
    assert "case a1" in line and "labels/a1.nii.gz" in line
    assert "32x32x33" in line and "32x32x32" in line


def test_headers_that_cannot_be_read(bench, write_task):
    path = write_task(Path("mine"), train=3)
    for case in ("a0", "a2"):
        Path(f"mine/images/{case}.nii.gz").write_bytes(b"this is no NIfTI")
    line = refused(bench, *words(tasks=path, shots="1"))
    assert "case a0" in line and "images/a0.nii.gz" in line and "(and 1 more)" in line


def test_an_image_without_its_label(bench, write_task):
    path = write_task(Path("mine"))
    Path("mine/labels/a1.nii.gz").unlink()
    line = refused(bench, *words(tasks=path, shots="1"))
    assert "case a1: " in line and "images/a1.nii.gz: has no label 'a1'" in line


def test_a_folder_corpus_without_volumes(bench):
    Path("CT").mkdir()
    line = refused(bench, *words(methods="simmim", corpus="folder:CT"))
    assert "no volume below" in line


def test_results_that_cannot_be_written(bench):
    Path("file").write_text("keep me")
    for results in ("file", "file/inside", "/proc/bench-results"):
        line = refused(bench, *words(results=results))
        assert results in line and "cannot write" in line
    assert Path("file").read_text() == "keep me"


def test_a_page_that_cannot_be_written(bench):
    Path("file").write_text("")
    line = refused(bench, "report", "--out", "file")
    assert "file: cannot write" in line and "choose another folder" in line


def test_results_of_a_newer_version(bench):
    Path("results").mkdir()
    Path("results/store.json").write_text('{"format": 999}')
    for command in (words(results="results"), ["status", "--results", "results"]):
        line = refused(bench, *command)
        assert "newer version" in line and "999" in line and "update medssl-bench" in line
    assert json.loads(Path("results/store.json").read_text()) == {"format": 999}


def test_a_full_disk(bench, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 10, 10))
    line = refused(bench, *words())
    assert "bench-results" in line and "GiB needed, 0.0 GiB free" in line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("import gone_for_good", "gone_for_good"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
    ],
)
def test_a_plugin_that_fails(bench, text, told):
    Path("plugin.py").write_text(text)
    assert told in refused(bench, *words(plugin="plugin.py"))
    assert told in refused(bench, "list", "methods", "--plugin", "plugin.py")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ([], "Usage: bench"),
        (["rum"], "unknown command 'rum'. Did you mean 'run'?"),
        (["--hlep"], "No such option"),
        (["run", "--methods", "scratch"], "Missing option '--tasks'"),
        (["run", *words()[1:], "left over"], "left over"),
        (["list"], "methods, tasks, backbones, corpora, profiles"),
        (["list", "method"], "'methods', 'tasks'"),
        (["data", "stat"], "stat"),
        (["data", "status", "amos_mr"], "Did you mean 'amos_mri'?"),
        (["data", "status", "--data", "nowhere"], "--data nowhere: no such folder"),
        (["status", "--results", "nowhere"], "no results in nowhere"),
        (["report", "--results", "nowhere"], "no results in nowhere"),
        (["doctor", "--jsn"], "--json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_ends_with_code_2(bench, command, told):
    outcome = bench(*command)
    assert outcome.code == 2 and told in outcome.err and "Traceback" not in outcome.err
    if command:
        assert outcome.line.startswith("bench: ")


def test_init_does_not_overwrite(bench):
    assert bench("init").code == 0
    before = Path("bench.yaml").read_text()
    assert "--force" in refused(bench, "init")
    assert Path("bench.yaml").read_text() == before


BRAINMVP = {"methods": "brainmvp", "tasks": "phantom_brain_tumor"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), ["brainmvp on corpus phantom_ct: case phantom_ct_",
              "needs 2 modalities of a case, it has CT", "(and 63 more cases)"]),
        (("--corpus", "phantom_brain", "--set", "methods.brainmvp.modalities=[T1, T1c, T2]"),
         ["brainmvp on corpus phantom_brain: case phantom_brain_", "no template for modality",
          "those of T1, T1c, T2", "methods.brainmvp.modalities"]),
        (("--corpus", "phantom_brain", "--set", "pretrain.crop=[64, 64, 64]"),
         ["template=(56, 68, 60) is smaller than the crop", "methods.brainmvp.template"]),
        (("--corpus", "phantom_brain", "--set", "pretrain.batch=1"), ["batch of at least 2"]),
        (("--corpus", "phantom_brain", "--set", "methods.brainmvp.cell=5"), ["cell=5"]),
        (("--corpus", "phantom_brain", "--set", "methods.brainmvp.tuning.replaced=-1"),
         ["brainmvp on phantom_brain_tumor", "tuning.replaced=-1 must be 0 or above"]),
        (("--corpus", "phantom_brain", "--set", "methods.brainmvp.tuning.folder=nowhere"),
         ["brainmvp on phantom_brain_tumor", "no .nii.gz files in nowhere", "bench export"]),
    ],
)  # fmt: skip
def test_what_brainmvp_cannot_pretrain_on_is_refused(bench, options, told) -> None:
    line = refused(bench, *words(**BRAINMVP), *options)
    assert all(word in line for word in told), line


@pytest.fixture
def brats(bench, tmp_path, monkeypatch) -> Path:
    """Samples of BraTS 2021 where ``bench`` looks for them; returns the folder of a case."""
    from medssl_bench.registry import corpora

    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    root = tmp_path / "data" / "brats2021"
    corpora.load("brats2021").write_samples(root)
    return root / "BraTS2021_00002"


def test_modalities_on_different_grids_are_named(bench, brats) -> None:
    path = brats / "BraTS2021_00002_t2.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[..., :-2], image.affine), path)
    line = refused(bench, *words(**BRAINMVP, corpus="brats2021"), "--set", "corpus_size=4")
    assert "case BraTS2021_00002" in line and "T2 has shape 44x40x26, T1 has 44x40x28" in line
    assert "brats2021:T1" in line  # how the others are resampled


def test_modalities_of_one_shape_that_lie_apart_are_named(bench, brats) -> None:
    """Their voxels would be taken for one place's without a word."""
    path = brats / "BraTS2021_00002_t2.nii.gz"
    image = nib.load(path)
    affine = image.affine.copy()
    affine[0, 3] += 7
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)
    options = ("--set", "corpus_size=4", "--dry-run")
    line = refused(bench, *words(**BRAINMVP, corpus="brats2021"), *options)
    assert "case BraTS2021_00002" in line and "T2 lies up to 7.0 mm from T1" in line
    assert bench(*words(**BRAINMVP, corpus="brats2021:T1"), *options).code == 0


@pytest.mark.parametrize(("backbone", "multiple"), [("uniformer3d", 16), ("unet3d", 8)])
@pytest.mark.parametrize("which", ["pretrain.crop", "finetune.crop"])
def test_crops_that_the_backbones_of_paper_003_do_not_divide(bench, backbone, multiple, which):
    command = words(**BRAINMVP, corpus="phantom_brain", backbone=backbone)
    crop = f"[32, 32, {32 + multiple // 2}]"
    line = refused(bench, *command, "--set", f"{which}={crop}")
    assert f"{which} 32x32x{32 + multiple // 2}: backbone {backbone}" in line
    assert f"multiples of {multiple}" in line


def test_a_published_corpus_of_one_modality(bench, brats) -> None:
    from medssl_bench.registry import corpora

    corpora.load("adni").write_samples(brats.parents[1] / "adni")
    command = words(**BRAINMVP, corpus="adni")
    line = refused(bench, *command, "--set", "corpus_size=4", "--set", "pretrain.batch=4")
    assert "brainmvp on corpus adni: case " in line
    assert "needs 2 modalities of a case, it has T1" in line


def test_a_case_that_has_nothing_is_named(bench, monkeypatch) -> None:
    from medssl_bench.tasks.corpora import phantom

    few = phantom.contrasts_of
    monkeypatch.setattr(
        phantom, "contrasts_of", lambda seed, site: () if site == "south" else few(seed, site)
    )
    command = words(**BRAINMVP, corpus="phantom_brain")
    line = refused(bench, *command, "--set", "corpus_size=160")
    assert "case phantom_brain_002: " in line and "no image of any modality (T1, " in line
    assert "(and 39 more)" in line


def test_a_case_of_one_modality_among_others_is_named(bench, monkeypatch) -> None:
    from medssl_bench.tasks.corpora import phantom

    few = phantom.contrasts_of
    monkeypatch.setattr(
        phantom, "contrasts_of", lambda seed, site: few(seed, site)[: 1 if site == "south" else 8]
    )
    command = words(**BRAINMVP, corpus="phantom_brain")
    line = refused(bench, *command, "--set", "corpus_size=160")
    assert "case phantom_brain_002: needs 2 modalities of a case, it has T1 (and 39 more" in line


def test_a_case_of_no_modality_is_named() -> None:
    from medssl_bench.errors import DataError
    from medssl_bench.preparation import rules
    from medssl_bench.registry import corpora
    from medssl_bench.task import Case

    corpus = corpora.load("phantom_brain")
    with pytest.raises(DataError, match=r"phantom_brain: x: no image of any modality \(T1, T1c, "):
        rules(corpus, Case("x", {}))
    with pytest.raises(DataError, match=r"phantom_brain: x: unknown modality SWI; the corpus has"):
        rules(corpus, Case("x", {"SWI": corpus.cases(None)[0].images["T1"]}))
