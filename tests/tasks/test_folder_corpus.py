"""Folders as corpora: modality by folder name, YAML or DICOM tag."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medssl_bench.errors import BenchError, DataError
from medssl_bench.tasks.corpora import load_corpus


def modalities(spec: str) -> dict[str, str]:
    return {case.id: next(iter(case.images)) for case in load_corpus(spec).cases(None)}


def dicom_series(folder: Path, modality: str, patient: str, number: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index in range(3):
        image = sitk.GetImageFromArray(np.full((1, 4, 4), index, np.int16))
        tags = {
            "0008|0060": modality,
            "0010|0020": patient,
            "0020|000d": "1.2.3",
            "0020|000e": f"1.2.3.{number}",
            "0020|0032": f"0\\0\\{2 * index}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(index),
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{number}-{index}.dcm"))
        writer.Execute(image)


def test_nearest_folder_names_the_modality(tmp_path, write):
    root = tmp_path / "scans_ct"
    write(root / "a.nii.gz")
    write(root / "MRI" / "b.nii.gz")
    write(root / "extra" / "unlabelled_mr" / "t2" / "c.nii")
    write(root / "MRI" / "labelsTr" / "b.nii.gz")
    (root / "._a.nii.gz").write_bytes(b"macOS")
    assert modalities(f"folder:{root}") == {
        "a": "CT",
        "MRI/b": "MR",
        "extra/unlabelled_mr/t2/c": "MR",
    }


def test_nrrd_and_metaimage(tmp_path):
    for ending in ("nrrd", "mha"):
        path = tmp_path / "ct" / f"{ending}_scan.{ending}"
        path.parent.mkdir(exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16)), str(path))
    cases = load_corpus(f"folder:{tmp_path}").cases(None)
    assert [case.id for case in cases] == ["ct/mha_scan", "ct/nrrd_scan"]
    assert [case.images["CT"].header().shape for case in cases] == [(5, 4, 3)] * 2


def test_words_must_stand_alone(tmp_path, write):
    # "fracture" holds "ct", "mrs" holds "mr".
    path = write(tmp_path / "fracture" / "mrs" / "a.nii.gz")
    with pytest.raises(DataError, match="modality is not known") as raised:
        load_corpus(f"folder:{tmp_path / 'fracture'}").cases(None)
    assert str(path) in str(raised.value) and "corpus.yaml" in str(raised.value)


def test_dicom_tag_wins_over_the_folder_and_gives_the_patient(tmp_path):
    dicom_series(tmp_path / "ct" / "study" / "one", "MR", "anna")
    (case,) = load_corpus(f"folder:{tmp_path / 'ct'}").cases(None)
    assert case.id == "study/one" and list(case.images) == ["MR"] and case.patient == "anna"
    assert case.images["MR"].header().shape == (4, 4, 3)


def test_two_series_in_one_folder_are_two_cases(tmp_path):
    dicom_series(tmp_path / "scans", "CT", "anna", 1)
    dicom_series(tmp_path / "scans", "MR", "anna", 2)
    cases = load_corpus(f"folder:{tmp_path}").cases(None)
    assert sorted(next(iter(case.images)) for case in cases) == ["CT", "MR"]
    assert len({case.id for case in cases}) == 2
    assert all(source.header().shape == (4, 4, 3) for c in cases for source in c.images.values())


def test_several_folders_keep_names_apart(tmp_path, write):
    for name in ("x/ct", "y/ct", "mr"):
        write(tmp_path / name / "a.nii.gz")
    found = modalities(f"folder:{tmp_path}/x/ct, {tmp_path}/y/ct,{tmp_path}/mr")
    assert found == {"x/ct/a": "CT", "y/ct/a": "CT", "mr/a": "MR"}


def test_corpus_yaml(tmp_path, write):
    write(tmp_path / "p1" / "t2" / "a.nii.gz")
    write(tmp_path / "p2" / "spect" / "a.nii.gz")
    write(tmp_path / "p2" / "scout" / "a.nii.gz")
    (tmp_path / "corpus.yaml").write_text(
        "modality: {'**/t2/*': MRI, '**/spect/*': SPECT}\n"
        "exclude: ['**/scout/**']\n"
        "patient: '^(p[0-9])/'\n"
        "intensity: {SPECT: {rule: percentile, low: 0, high: 99.5}, MR: {rule: percentile, low: 1,"
        " high: 99}}\n"
        "spacing: {mri: [1, 1, 1]}\n"
        "licence: CC0\n"
    )
    corpus = load_corpus(f"folder:{tmp_path}")
    cases = corpus.cases(None)
    assert [(case.id, list(case.images), case.patient) for case in cases] == [
        ("p1/t2/a", ["MR"], "p1"),
        ("p2/spect/a", ["SPECT"], "p2"),
    ]
    assert corpus.preprocessing["MR"].spacing == (1, 1, 1)
    assert corpus.preprocessing["MR"].intensity.high == 99
    assert corpus.preprocessing["SPECT"].intensity.high == 99.5
    assert corpus.preprocessing["SPECT"].spacing == (1.5, 1.5, 2.0)
    assert corpus.licence == "CC0"


def test_defaults_of_pretraining(tmp_path, write):
    write(tmp_path / "ct" / "a.nii.gz")
    rules = load_corpus(f"folder:{tmp_path}").preprocessing
    assert rules["CT"].intensity.model_dump() == {"rule": "clip", "low": -500, "high": 500}
    assert rules["MR"].intensity.model_dump() == {"rule": "percentile", "low": 5, "high": 95}
    assert rules["CT"].spacing == rules["MR"].spacing == (1.5, 1.5, 2.0)


def test_where_it_lies_is_no_part_of_the_corpus(tmp_path, write):
    for place in ("here", "there"):
        write(tmp_path / place / "ct" / "a.nii.gz")
    here, there = (load_corpus(f"folder:{tmp_path / place / 'ct'}") for place in ("here", "there"))
    assert here.model_dump_json() == there.model_dump_json()
    assert [case.id for case in here.cases(None)] == [case.id for case in there.cases(None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modalty: CT", "unknown key 'modalty'. Did you mean 'modality'"),
        ("intensity: {MR: {rule: percentile, lo: 1, high: 99}}", "unknown key 'intensity.MR.lo'"),
        ("intensity: {CT: {rule: clip, low: 9, high: 1}}", "not below"),
        ("spacing: {US: [1, 1, 1]}", "intensity: needed for modality US"),
        ("patient: '(('", "no regular expression"),
    ],
)
def test_faults_of_corpus_yaml(tmp_path, text, message):
    (tmp_path / "corpus.yaml").write_text(text)
    with pytest.raises(BenchError, match=message) as raised:
        load_corpus(f"folder:{tmp_path}")
    assert str(raised.value).startswith(str(tmp_path / "corpus.yaml"))
    assert "\n" not in str(raised.value)


def test_a_modality_without_rule_asks_for_one(tmp_path, write):
    write(tmp_path / "pet" / "a.nii.gz")
    with pytest.raises(DataError, match=r"pet/a is PET; say in .*corpus.yaml how to scale it"):
        load_corpus(f"folder:{tmp_path}").cases(None)


def test_two_folders_must_scale_a_modality_alike(tmp_path, write):
    for name, high in (("a", 99), ("b", 98)):
        write(tmp_path / name / "mr" / f"{name}.nii.gz")
        (tmp_path / name / "corpus.yaml").write_text(
            f"intensity: {{MR: {{rule: percentile, low: 1, high: {high}}}}}"
        )
    with pytest.raises(BenchError, match="scale MR differently"):
        load_corpus(f"folder:{tmp_path / 'a'},{tmp_path / 'b'}")
    one_file = load_corpus(f"folder:{tmp_path / 'a'},{tmp_path / 'b' / 'mr'}")
    assert one_file.preprocessing["MR"].intensity.high == 99


def test_the_same_name_twice_is_refused(tmp_path, write, faults):
    packed = write(tmp_path / "ct" / "a.nii.gz")
    plain = write(tmp_path / "ct" / "a.nii")
    write(tmp_path / "ct" / "b.nii")
    assert faults(load_corpus(f"folder:{tmp_path}"), None) == [
        f"ct/a: {packed}: {plain} has the name 'ct/a' too; rename or leave out one of them"
    ]


def test_missing_or_empty_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        load_corpus(f"folder:{tmp_path / 'gone'}")
    with pytest.raises(BenchError, match="give a folder"):
        load_corpus("folder:")
    with pytest.raises(BenchError, match="give a folder"):
        load_corpus("folder")
    with pytest.raises(DataError, match="no volume below"):
        load_corpus(f"folder:{tmp_path}").cases(None)
