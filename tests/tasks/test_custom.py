"""A task of one's own from YAML: layouts, splits, short forms, refusals."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from medssl_bench.errors import BenchError, DataError
from medssl_bench.tasks import load_task
from medssl_bench.tasks.layout import list_volumes
from medssl_bench.tasks.split import Split

BASE: dict[str, Any] = {
    "name": "mine",
    "images": "images",
    "labels": "labels",
    "split": {"test": 2, "seed": 0},
    "classes": {1: "front", 2: "back"},
    "modality": "MR",
}


@pytest.fixture
def folder(tmp_path: Path, write) -> Path:
    for number in range(6):
        for kind in ("images", "labels"):
            write(tmp_path / kind / f"scan_{number}.nii.gz")
    (tmp_path / "images" / "._scan_0.nii.gz").write_bytes(b"macOS")
    return tmp_path


def save(folder: Path, **changes: Any) -> str:
    values = {key: value for key, value in {**BASE, **changes}.items() if value is not ...}
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def pools(spec: str, root: Path | None = None) -> dict[str, str]:
    return {case.id: case.pool for case in load_task(spec).cases(root)}


def test_defaults_are_those_of_paper_004(folder):
    mr, ct = load_task(save(folder)), load_task(save(folder, modality="ct"))
    assert mr.preprocessing.intensity.model_dump() == {"rule": "percentile", "low": 5, "high": 95}
    assert ct.preprocessing.intensity.model_dump() == {"rule": "clip", "low": -175, "high": 250}
    assert mr.preprocessing.spacing == (1.5, 1.5, 2.0) and mr.crop == (96, 96, 96)
    assert (mr.modality, ct.modality, mr.channels, mr.kind) == ("MR", "CT", ("image",), "organs")


def test_short_forms(folder):
    task = load_task(
        save(
            folder,
            classes=["front", "back"],
            modality="mri",
            spacing=1,
            crop=48,
            loss="dice_bce",
            intensity="percentile",
        )
    )
    assert task.classes == {1: "front", 2: "back"} and task.modality == "MR"
    assert task.preprocessing.spacing == (1, 1, 1) and task.crop == (48, 48, 48)
    assert task.kind == "tumour" and task.preprocessing.intensity.high == 95
    assert load_task(save(folder, spacing="native")).preprocessing.spacing is None


def test_regions_are_made_of_classes_by_name_or_id(folder):
    task = load_task(save(folder, regions={"whole": ["front", 2], "back": ["back"]}))
    assert task.regions == task.targets == {"whole": (1, 2), "back": (2,)}
    assert load_task(save(folder)).targets == {"front": (1,), "back": (2,)}
    twice = load_task(save(folder, regions={"whole": [1, "front", 2]}))
    assert twice.regions == {"whole": (1, 2)}
    grouped = save(folder, regions={"whole": [1, 2]}, groups={"all": ["whole"]})
    assert load_task(grouped).groups == {"all": ("whole",)}


def test_paths_are_below_data_first_then_beside_the_yaml(folder, tmp_path_factory, write):
    spec = save(folder)
    other = tmp_path_factory.mktemp("other")
    for name in ("a", "b", "c"):
        for kind in ("images", "labels"):
            write(other / kind / f"{name}.nii.gz")
    empty = tmp_path_factory.mktemp("empty")
    assert len(pools(spec)) == len(pools(spec, empty)) == 6
    assert set(pools(spec, other)) == {"a", "b", "c"}


def test_paths_are_no_part_of_the_task(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    here, there = load_task(save(folder)), load_task(save(elsewhere))
    assert here.model_dump_json() == there.model_dump_json()
    assert str(folder) not in here.model_dump_json()


@pytest.mark.parametrize(
    ("images", "labels", "files", "expected"),
    [
        ("*/ct.nii.gz", "*/seg.nii.gz", "{}/ct.nii.gz {}/seg.nii.gz", "{}"),
        ("img/{id}_0000.nii.gz", "lab/{id}.nii.gz", "img/{}_0000.nii.gz lab/{}.nii.gz", "{}"),
        (
            "part */volume-{id}.nii",
            "part */segmentation-{id}.nii",
            "part 1/volume-{}.nii part 1/segmentation-{}.nii",
            "{}",
        ),
        (
            "sub-*/anat/*_T1w.nii.gz",
            "masks/sub-*/m.nii.gz",
            "sub-{}/anat/sub-{}_T1w.nii.gz masks/sub-{}/m.nii.gz",
            "sub-{}",
        ),
        ("**/image_{id}.nrrd", "**/label_{id}.nii", "x/y/image_{}.nrrd z/label_{}.nii", "{}"),
    ],
)
def test_patterns(tmp_path, write, images, labels, files, expected):
    for number in "123":
        # Files are named only here: any content does, since nothing is read.
        for file in files.replace("part 1", "part@1").split():
            path = tmp_path / file.replace("part@1", "part 1").replace("{}", number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    cases = load_task(save(tmp_path, images=images, labels=labels)).cases(None)
    assert [case.id for case in cases] == [expected.format(number) for number in "123"]
    assert all(case.label.path.is_file() for case in cases)


def test_absolute_folders_and_patterns(folder, tmp_path_factory):
    yaml_folder = tmp_path_factory.mktemp("yaml")
    images, labels = str(folder / "images"), str(folder / "labels" / "*.nii.gz")
    assert len(pools(save(yaml_folder, images=images, labels=labels))) == 6


def test_two_volumes_with_one_id_are_refused(tmp_path, write):
    first = write(tmp_path / "part_1" / "a.nii.gz")
    second = write(tmp_path / "part_2" / "a.nii.gz")
    write(tmp_path / "part_2" / "b.nii.gz")
    sources = list_volumes(tmp_path, "**/*.nii.gz").sources()
    assert sources["b"].header().shape == (3, 4, 5)
    with pytest.raises(DataError, match=f"^{first}: {second} has the same id 'a'; remove"):
        sources["a"].header()
    assert set(list_volumes(tmp_path, "{id}/a.nii.gz").paths) == {"part_1", "part_2"}


@pytest.mark.parametrize("form", ["suffixes", "folders", "mapping"])
def test_channels(tmp_path, write, faults, form):
    for number in range(4):
        write(tmp_path / "labels" / f"s{number}.nii.gz")
        for channel, suffix in (("T1", "_0000"), ("FLAIR", "_0003")):
            if form == "suffixes":
                write(tmp_path / "images" / f"s{number}{suffix}.nii.gz")
            else:
                write(tmp_path / "images" / channel / f"s{number}.nii.gz")
    forms: dict[str, dict[str, Any]] = {
        "suffixes": {"channels": {"T1": "_0000", "FLAIR": "_0003"}},
        "folders": {"channels": ["T1", "FLAIR"]},
        "mapping": {"images": {"T1": "images/T1", "FLAIR": "images/FLAIR"}},
    }
    task = load_task(save(tmp_path, **forms[form]))
    cases = task.cases(None)
    assert set(task.channels) == {"T1", "FLAIR"}
    assert [case.id for case in cases] == ["s0", "s1", "s2", "s3"]
    assert {tuple(sorted(case.images)) for case in cases} == {("FLAIR", "T1")}
    gone = cases[1].images["FLAIR"].path
    gone.unlink()
    (told,) = faults(task, None)
    assert told.startswith("s1: ") and "case 's1' has no channel 'FLAIR'" in told


def test_a_share_is_the_same_for_a_patient_whatever_the_others():
    ct = {f"ct_{number}": f"patient {number}" for number in range(50)}
    mr = {f"mr_{number}": f"patient {number}" for number in range(20, 120)}
    for seed in range(5):
        split = Split(test=0.3, seed=seed)
        in_ct, in_mr = split.pools(ct), split.pools(mr)
        for number in range(20, 50):
            assert in_ct[f"ct_{number}"] == in_mr[f"mr_{number}"]


def test_a_share_holds_on_average_and_differs_by_seed():
    patients = {str(number): str(number) for number in range(4000)}
    tested = [
        {
            case
            for case, pool in Split(test=0.3, seed=seed).pools(patients).items()
            if pool == "test"
        }
        for seed in range(2)
    ]
    # Binomial(4000, 0.3): six standard deviations are 174.
    assert all(1026 < len(side) < 1374 for side in tested)
    assert tested[0] != tested[1]


def test_an_exact_number_of_patients():
    patients = {f"{number}{scan}": str(number) for number in range(10) for scan in "ab"}
    sides = Split(test=3, seed=1).pools(patients)
    tested = [case for case, pool in sides.items() if pool == "test"]
    assert len(tested) == 6 and len({patients[case] for case in tested}) == 3


def test_lists_of_cases_or_patients(folder):
    everything_else = pools(save(folder, split={"test": ["scan_1", "scan_4"]}))
    assert [case for case, pool in everything_else.items() if pool == "test"] == [
        "scan_1",
        "scan_4",
    ]
    assert len(everything_else) == 6
    some = pools(save(folder, split={"test": ["scan_1"], "train": ["scan_2"]}))
    assert some == {"scan_1": "test", "scan_2": "train"}
    by_patient = pools(save(folder, patient=r"_(\d)$", split={"test": [3, 5]}))
    assert [case for case, pool in by_patient.items() if pool == "test"] == ["scan_3", "scan_5"]


@pytest.mark.parametrize("name", ["split.json", "split.yaml"])
def test_lists_in_a_file_of_their_own(folder, name):
    (folder / name).write_text('{"test": ["scan_1"], "train": ["scan_2", "scan_3"]}')
    assert pools(save(folder, split=name)) == {
        "scan_1": "test",
        "scan_2": "train",
        "scan_3": "train",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clases": {1: "a"}}, r"unknown key 'clases'. Did you mean 'classes'\?"),
        ({"intensity": {"rule": "clip", "low": 0, "high": 1, "hihg": 2}}, "mean 'intensity.high'"),
        ({"split": {"test": 0.3, "sed": 1}}, "Did you mean 'split.seed'"),
        ({"name": ...}, "key 'name' is missing"),
        ({"modality": ...}, "key 'modality' is missing"),
        ({"name": "amos_ct"}, "'amos_ct' is a registered task"),
        ({"name": "a/b"}, "name: "),
        ({"modality": "US"}, "intensity: needed for modality US"),
        ({"intensity": {"rule": "clip"}}, "clip needs low and high"),
        ({"intensity": {"rule": "percentile", "low": 5, "high": 950}}, "between 0 and 100"),
        ({"intensity": {"rule": "clip", "low": 5, "high": 1}}, "not below"),
        ({"intensity": "zscore"}, "intensity.rule: .*'zscore'"),
        ({"classes": {1: "a", 3: "b"}}, "without a gap"),
        ({"classes": {}}, "at least one"),
        ({"classes": {1: "a", 2: "a"}}, "same name"),
        ({"remap": {7: 3}}, "remap: 3 is no class"),
        ({"groups": {"all": ["frnt"]}}, "'frnt' is no class. Did you mean 'front'"),
        ({"regions": {"all": ["frnt"]}}, "'frnt' is no class. Did you mean 'front'"),
        ({"regions": {"all": [3]}}, "regions: 3 is no class"),
        ({"regions": {"all": []}}, "regions: all needs class ids"),
        ({"split": {"test": 1.5}}, "share between 0 and 1"),
        ({"split": {"test": 0}}, "share between 0 and 1"),
        ({"split": "gone.json"}, "gone.json: no such file"),
        ({"crop": [96, 0, 96]}, "crop: every side"),
        ({"loss": "focal"}, "loss: "),
        ({"loss": "dice_ce", "kind": "tumour"}, "is that of kind organs"),
        ({"patient": "(("}, "patient: no regular expression"),
    ],
)
def test_faults_of_the_yaml_are_one_line_with_the_file(folder, changes, message):
    spec = save(folder, **changes)
    with pytest.raises(BenchError, match=message) as raised:
        load_task(spec)
    assert str(raised.value).startswith(str(folder)) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "line 1"), ("- a", "key: value"), ("", "key")]
)
def test_what_is_no_mapping_is_refused(tmp_path, text, message):
    path = tmp_path / "task.yaml"
    path.write_text(text)
    with pytest.raises(BenchError, match=message):
        load_task(str(path))
    with pytest.raises(BenchError, match="gone.yaml: no such file"):
        load_task(str(tmp_path / "gone.yaml"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": "imges"}, "no images 'imges' in"),
        ({"labels": "images/scan_[0-4].nii.gz"}, "has no label 'scan_0'"),
        ({"split": {"test": ["scan_9"]}}, "lists 'scan_9', of which there is no image"),
        ({"split": {"test": ["scan_1"], "train": ["scan_1"]}}, "both train and test"),
        ({"split": {"test": 6}}, "no train case of 6"),
        ({"split": {"test": 0.0001}}, "no test case of 6"),
        ({"patient": "patient"}, "does not match 'scan_0'"),
    ],
)
def test_faults_of_the_data(folder, faults, changes, message):
    told = faults(load_task(save(folder, **changes)), None)
    assert re.search(message, told[0])


def test_a_label_without_image_is_named(folder, write, faults):
    label = write(folder / "labels" / "scan_7.nii.gz")
    assert faults(load_task(save(folder)), None) == [f"scan_7: {label}: has no image 'scan_7'"]


def test_every_id_of_a_split_that_is_not_there_is_named(folder, faults):
    task = load_task(save(folder, split={"test": ["scan_1", "scan_8", "scan_9"]}))
    assert [line.split(":")[0] for line in faults(task, None)] == ["scan_8", "scan_9"]


def test_lists_that_share_a_patient_are_refused(folder, faults):
    spec = save(folder, patient="scan", split={"test": ["scan_1"], "train": ["scan_2"]})
    (told,) = faults(load_task(spec), None)
    assert "'scan' is in both train and test" in told


def test_unknown_names_offer_the_nearest():
    with pytest.raises(BenchError, match="Did you mean 'amos_mri'"):
        load_task("amos_mr")


@pytest.mark.parametrize("classes", [{1: "mean"}, {1: "liver", 2: "liver"}])
def test_class_names_that_would_hide_a_row_are_refused(classes: dict[int, str]) -> None:
    from medssl_bench.task import Task

    with pytest.raises(ValueError, match="give each class its own"):
        Task(name="t", classes=classes)
