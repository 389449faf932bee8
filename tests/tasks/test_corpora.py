"""Published corpora: what is a case, who is a patient, what is passed over."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medssl_bench.data.orientation import to_ras
from medssl_bench.data.sampling import UnlabelledCrops
from medssl_bench.errors import BenchError, DataError
from medssl_bench.preparation import open_prepared, rules
from medssl_bench.task import Case, Corpus
from medssl_bench.tasks.corpora import load_corpora, load_corpus
from medssl_bench.tasks.corpora.deeplesion import SLICES
from medssl_bench.validation import check_cases


def found(name: str, root: Path, tree: str | None = None) -> dict[str, Case]:
    corpus = load_corpus(name)
    corpus.write_samples(root, tree)
    return {case.id: case for case in corpus.cases(root)}


def test_deeplesion_slices_and_volumes_are_the_same_fragments(tmp_path: Path) -> None:
    """In HU and in one place: row down to posterior, column to the left, slices to the feet."""
    slices = found("deeplesion", tmp_path / "png", SLICES)
    source = slices["000001_01_01_103-130"].images["CT"]
    volume = source.read()
    assert volume.header.shape == source.header().shape
    assert "".join(nib.aff2axcodes(volume.affine)) == "PLI"
    assert volume.array.min() == -1000 and volume.array.max() < 3000
    # What the release's script writes of these slices, read as the other tree.
    folder = tmp_path / "nifti" / "Images_nifti"
    folder.mkdir(parents=True)
    for name, case in slices.items():
        stack = case.images["CT"].read()
        x, y, z = stack.header.spacing
        swapped = np.array([[0, -y, 0, 0], [-x, 0, 0, 0], [0, 0, -z, 0], [0, 0, 0, 1]])
        nib.save(nib.Nifti1Image(stack.array, swapped), folder / f"{name}.nii.gz")
    volumes = {case.id: case for case in load_corpus("deeplesion").cases(tmp_path / "nifti")}
    assert volumes.keys() == slices.keys()
    for name in slices:
        one, other = (to_ras(cases[name].images["CT"].read()) for cases in (slices, volumes))
        np.testing.assert_array_equal(one.array, other.array)
        np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)
        assert slices[name].group == volumes[name].group == name[:6]


def test_a_slice_that_is_missing_is_named(tmp_path: Path) -> None:
    cases = found("deeplesion", tmp_path)
    (tmp_path / SLICES / "000001_01_01" / "110.png").unlink()
    findings = check_cases([*cases.values()], load_corpus("deeplesion"))
    assert [f.case for f in findings] == ["000001_01_01_103-130"]
    assert "slice 110.png is missing" in findings[0].message
    for file in (tmp_path / SLICES / "000003_02_01").iterdir():
        file.unlink()
    (tmp_path / SLICES / "000003_02_01").rmdir()  # an archive that was not unpacked
    assert len(load_corpus("deeplesion").cases(tmp_path)) == 3


def test_pancreas_ct_leaves_out_what_is_case_2_again(tmp_path: Path) -> None:
    cases = found("ct_public", tmp_path)
    assert (tmp_path / "PANCREAS_0025").is_dir()
    assert [case for case in cases if "pancreas" in case] == ["pancreas_0001"]
    assert not any("seg" in case for case in cases)
    parts = [part.name for part in load_corpus("ct_public").parts]  # type: ignore[attr-defined]
    assert {case.info["part"] for case in cases.values()} == {*parts}


def test_any_part_of_ct_public_will_do(tmp_path: Path) -> None:
    cases = found("ct_public", tmp_path, "MELA 2022")
    assert sorted(cases) == ["mela_0001"]


def test_ucsf_pdgm_follow_ups_are_of_their_patient(tmp_path: Path) -> None:
    cases = found("ucsf_pdgm", tmp_path)
    assert cases["UCSF-PDGM-0433_FU007d"].group == cases["UCSF-PDGM-0433"].group
    corpus = load_corpus("ucsf_pdgm")
    assert corpus.patient_of("UCSF-PDGM-0315") == "UCSF-PDGM-0433"  # type: ignore[attr-defined]
    # The table says UCSF-PDGM-004 where the folder says 0004.
    told = {case: c.info["BraTS21 ID"] for case, c in cases.items() if "BraTS21 ID" in c.info}
    assert told == {"UCSF-PDGM-0004": "BraTS2021_00097"}
    (tmp_path / "UCSF-PDGM-metadata_v2.csv").write_text("id;brats\n1;2\n")
    with pytest.raises(DataError, match="expected the columns ID and BraTS21 ID"):
        corpus.cases(tmp_path)


def test_second_exams_of_brats_are_of_one_patient(faults, tmp_path: Path) -> None:
    cases = found("brats2023_men", tmp_path)
    assert cases["BraTS-MEN-00004-000"].group == cases["BraTS-MEN-00004-001"].group
    next(tmp_path.rglob("*00002-000-t2w*")).unlink()
    (told,) = faults(load_corpus("brats2023_men"), tmp_path)
    assert told.startswith("BraTS-MEN-00002-000: ")
    assert told.endswith("BraTS-MEN-00002-000-t2w.nii*: there is no T2; unpack it completely")


def test_ixi_needs_a_grid(tmp_path: Path) -> None:
    cases = found("ixi", tmp_path)
    assert len(cases) == 4 and "IXI015-HH-1258" not in cases  # it has no MRA
    findings = check_cases([*cases.values()], load_corpus("ixi"))
    assert len(findings) == 4 and {finding.level for finding in findings} == {"error"}
    assert all(f"{name} has shape" in findings[0].message for name in ("T2", "PD", "MRA"))
    assert "T2 has shape 38x32x16" in findings[0].message
    assert "ask for a grid: ixi:T1" in findings[0].message
    assert check_cases([*cases.values()], load_corpus("ixi:T1")) == []
    with pytest.raises(BenchError, match="ixi:T9: no modality 'T9'; it has T1, T2, PD, MRA"):
        load_corpus("ixi:T9")


def test_adni_images_are_of_subjects(tmp_path: Path) -> None:
    cases = found("adni", tmp_path)
    assert cases["002_S_0295_I40966"].group == cases["002_S_0295_I45108"].group == "002_S_0295"
    assert len({case.group for case in cases.values()}) == 3


def test_wildcards_of_corpora() -> None:
    assert [corpus.name for corpus in load_corpora("brats2023_*")] == [
        "brats2023_ssa",
        "brats2023_men",
    ]
    assert "folder" not in [corpus.name for corpus in load_corpora("all")]


def test_a_step_meets_one_modality_of_a_case_by_its_slot(tmp_path: Path) -> None:
    """Evenly, the same for all views of a slot, and with the voxels of that modality."""
    corpus = load_corpus("brats2021")
    corpus.write_samples(tmp_path / "data")
    cases = corpus.cases(tmp_path / "data")
    volumes = [*open_prepared(corpus, cases, tmp_path / "cache").cases.values()]
    size = tuple(max(side) for side in zip(*(volume.shape for volume in volumes), strict=True))
    crops = UnlabelledCrops(volumes, size, views=2, seed=1, shift=0.0)  # volumes whole
    names = []
    for slot in range(40):
        sample = crops[slot]
        one, other = sample["views"]
        assert one.shape == (1, *size) and (one == other).all()
        names.append(sample["modality"])
        volume = next(v for v in volumes if v.id == sample["case"])
        whole = volume.image()[volume.channels.index(sample["modality"])]
        np.testing.assert_array_equal(one[0], whole)
    assert names == [crops[slot]["modality"] for slot in range(40)]
    assert all(3 <= names.count(name) <= 17 for name in corpus.preprocessing)


def test_modalities_of_a_case_share_a_rule() -> None:
    ct, mr = (load_corpus(name).preprocessing for name in ("deeplesion", "brats2021"))
    mixed = Corpus(name="mixed", preprocessing={"CT": ct["CT"], "T1": mr["T1"]})
    case = Case("a", {"CT": None, "T1": None})  # type: ignore[dict-item]
    with pytest.raises(DataError, match="mixed: a: CT and T1 are prepared differently"):
        rules(mixed, case)
    assert check_cases([case], mixed)[0].level == "error"
