"""AMOS: the official layout with its traps."""

import json
from pathlib import Path

import pytest

from medssl_bench.errors import DataError
from medssl_bench.tasks import TASKS, load_task
from medssl_bench.tasks.amos import Amos, modality_of

TRAIN = [1, 2, 410, 500, 507, 600, 601, 5000]
TEST = [8, 530]


@pytest.fixture
def tree(tmp_path: Path, write) -> Path:
    root = tmp_path / "amos22"
    for suffix, numbers in (("Tr", TRAIN), ("Va", TEST)):
        for number in numbers:
            for kind in ("images", "labels"):
                write(root / f"{kind}{suffix}" / f"amos_{number:04d}.nii.gz")
        (root / f"images{suffix}" / "._amos_0001.nii.gz").write_bytes(b"macOS")
    write(root / "imagesTs" / "amos_0003.nii.gz")
    return root


def listed(root: Path) -> dict[str, list[dict[str, str]]]:
    def entries(suffix: str, numbers: list[int]) -> list[dict[str, str]]:
        files = [f"amos_{number:04d}.nii.gz" for number in numbers]
        return [
            {"image": f"./images{suffix}/{file}", "label": f"./labels{suffix}/{file}"}
            for file in files
        ]

    values = {"training": entries("Tr", TRAIN), "validation": entries("Va", TEST), "test": []}
    (root / "dataset.json").write_text(json.dumps(values))
    return values


def ids(name: str, root: Path) -> dict[str, list[str]]:
    cases = load_task(name).cases(root)
    return {pool: [case.id for case in cases if case.pool == pool] for pool in ("train", "test")}


@pytest.mark.parametrize("with_json", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_modality_by_number_and_split_by_folder(tree, with_json, inside):
    if with_json:
        listed(tree)
    root = tree if inside else tree.parent
    assert ids("amos_ct", root) == {
        "train": ["amos_0001", "amos_0002", "amos_0410"],
        "test": ["amos_0008"],
    }
    assert ids("amos_mri", root) == {"train": ["amos_0507", "amos_0600"], "test": ["amos_0530"]}


@pytest.mark.parametrize(
    ("number", "modality"),
    [(1, "CT"), (499, "CT"), (500, ""), (501, "MR"), (600, "MR"), (601, ""), (5437, ""), (0, "")],
)
def test_modality_rule(number, modality):
    assert modality_of(f"amos_{number:04d}.nii.gz") == modality
    assert modality_of(f"._amos_{number:04d}.nii.gz") == ""


def test_dataset_json_decides_against_the_folders(tree):
    values = listed(tree)
    values["training"] = [entry for entry in values["training"] if "0002" not in entry["image"]]
    (tree / "dataset.json").write_text(json.dumps(values))
    assert ids("amos_ct", tree)["train"] == ["amos_0001", "amos_0410"]


def test_a_smaller_tree_is_accepted(tree):
    listed(tree)
    for kind in ("images", "labels"):
        (tree / f"{kind}Tr" / "amos_0002.nii.gz").unlink()
    assert ids("amos_ct", tree)["train"] == ["amos_0001", "amos_0410"]
    absent = load_task("amos_ct").absent(tree)
    assert [*absent] == ["amos_0002"]
    assert absent["amos_0002"].startswith(f"{tree / 'imagesTr/amos_0002.nii.gz'}: listed in")
    assert load_task("amos_mri").absent(tree) == {}
    assert load_task("amos_ct").expected == {"train": 200, "test": 100}


def test_an_image_without_label_is_named(tree, faults):
    (tree / "labelsVa" / "amos_0530.nii.gz").unlink()
    image, label = tree / "imagesVa/amos_0530.nii.gz", tree / "labelsVa/amos_0530.nii.gz"
    assert faults(load_task("amos_mri"), tree) == [
        f"amos_0530: {image}: has no label {label}; unpack labelsVa completely"
    ]
    assert ids("amos_ct", tree)["test"] == ["amos_0008"]


@pytest.mark.parametrize("with_json", [True, False])
def test_a_label_without_image_is_named_and_the_rest_goes_on(tree, faults, with_json):
    if with_json:
        listed(tree)
    image, label = (tree / f"{kind}Tr/amos_0002.nii.gz" for kind in ("images", "labels"))
    image.unlink()
    assert faults(load_task("amos_ct"), tree) == [
        f"amos_0002: {image}: not there, but its label {label} is; unpack imagesTr again"
    ]
    assert ids("amos_ct", tree)["train"] == ["amos_0001", "amos_0002", "amos_0410"]


def test_no_tree_says_what_was_expected_and_where_to_look(tmp_path):
    with pytest.raises(DataError) as raised:
        load_task("amos_mri").cases(tmp_path)
    message = str(raised.value)
    assert message.startswith(f"amos_mri: no cases under {tmp_path / 'imagesTr'}; expected")
    assert message.endswith("see `bench data status amos_mri`") and "\n" not in message
    with pytest.raises(DataError, match="--data DIR or BENCH_DATA"):
        load_task("amos_mri").cases(None)


def test_a_tree_without_test_cases_is_refused(tree):
    for kind in ("images", "labels"):
        (tree / f"{kind}Va" / "amos_0530.nii.gz").unlink()
    with pytest.raises(DataError, match=r"amos_mri: no cases under .*imagesVa"):
        load_task("amos_mri").cases(tree)


def test_a_broken_listing_is_named(tree):
    (tree / "dataset.json").write_text("{")
    with pytest.raises(DataError, match=r"dataset.json: cannot be read"):
        load_task("amos_ct").cases(tree)


def test_mri_has_13_organs_and_maps_the_other_two_away():
    ct, mri = load_task("amos_ct"), load_task("amos_mri")
    assert list(ct.classes) == list(range(1, 16)) and not ct.remap
    assert list(mri.classes) == list(range(1, 14)) and mri.remap == {14: 0, 15: 0}
    assert ct.preprocessing.intensity.model_dump() == {"rule": "clip", "low": -175, "high": 250}
    assert mri.preprocessing.intensity.model_dump() == {"rule": "percentile", "low": 5, "high": 95}
    assert ct.crop == mri.crop == (96, 96, 96)
    assert ct.preprocessing.spacing == mri.preprocessing.spacing == (1.5, 1.5, 2.0)


@pytest.mark.parametrize("name", ["amos_ct", "amos_mri"])
def test_gall_bladder_is_in_the_chosen_group_only(name):
    task = load_task(name)
    assert "gall_bladder" in task.groups["small"] and "gall_bladder" not in task.groups["gi"]
    other = Amos.model_validate({**task.model_dump(), "gall_bladder": "gi"})
    assert "gall_bladder" in other.groups["gi"] and "gall_bladder" not in other.groups["small"]
    for groups in (task.groups, other.groups):
        members = [organ for organs in groups.values() for organ in organs]
        assert sorted(members) == sorted(task.classes.values())


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_table_agrees_with_the_task(name):
    task, info = load_task(name), TASKS[name].info
    assert task.name == name
    assert list(task.classes.values()) == info["classes"]
    assert (task.modality, task.kind, task.needs_data) == (
        info["modality"],
        info["kind"],
        info["needs_data"],
    )
    if task.expected:
        assert task.expected == {"train": info["train"], "test": info["test"]}
