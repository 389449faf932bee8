"""Lung tumours on CT: NSCLC-Radiomics; Aerts et al., Nature Communications 2014.

422 patients with a planning CT and its contours as DICOM SEG and RTSTRUCT: the SEG is read where
there is one. ``lung_ct`` is the primary tumour, the region ``GTV-1``; ``lung_ct_all`` unites it
with the other ones (``GTV-2`` ...) where a patient has several. Scans and labels are found by
Modality, PatientID and the SeriesInstanceUID that the label refers to, so that both versions of
TCIA's folder names serve.

LUNG1-128 and LUNG1-412 have no usable tumour and are left out. The SEG of LUNG1-014, -021, -085,
-095 and -194 does not fit the CT (found by neuro-ml/amid): their RTSTRUCT is read. A slice that is
there twice is read once.

Paper 004 trains on 377 of these patients, without a list, and tests on 196 of its own that are not
public. Here the rest, 43 of the 420 patients, is tested, by seed: numbers are not those of the
paper.
"""

from __future__ import annotations

from medssl_bench.task import Intensity, Preprocessing
from medssl_bench.tasks.dicom_tree import DicomSamples, DicomTree
from medssl_bench.tasks.release import Release, Samples
from medssl_bench.tasks.split import Rounded

WITHOUT_TUMOUR = ("LUNG1-128", "LUNG1-412")


def _task(name: str, summary: str, regions: tuple[str, ...]) -> Release:
    return Release(
        name=name,
        summary=f"{summary} of NSCLC-Radiomics on CT; 43 of its 420 patients tested",
        modality="CT",
        kind="tumour",
        classes={1: "tumour"},
        trees=(
            DicomTree(
                name="TCIA",
                modality="CT",
                patient="LUNG1-{id}",
                regions=regions,
                wrong_segmentations=("014", "021", "085", "095", "194"),
                shown=(
                    "NSCLC-Radiomics/LUNG1-001/09-18-2008-StudyID-NA-69331/\n"
                    "  0.000000-NA-82046/1-001.dcm ...   (CT)\n"
                    "  .../1-1.dcm   .../1-1.dcm         (SEG, RTSTRUCT)\n"
                    "..."
                ),
                samples=DicomSamples(
                    layouts=(
                        "NSCLC-Radiomics/{patient}/09-18-2008-StudyID-NA-69331/"
                        "{series}.000000-NA-8204{series}/1-{file:03}.dcm",
                        "NSCLC-Radiomics/{patient}/09-18-2008-StudyID-69331/"
                        "{series}-8204{series}/{file:06}.dcm",
                    ),
                    scan="",
                    region="GTV-1",
                    regions=("Lung-Left", "Spinal-Cord"),
                ),
            ),
        ),
        folders=("NSCLC-Radiomics",),
        case="LUNG1-{id}",
        left_out=dict.fromkeys(WITHOUT_TUMOUR, "it has no usable tumour segmentation"),
        split=Rounded(test=43, of=420),
        samples=Samples(numbers=("001", "002", "003", "014", "171", "422"), codes=("LPS",)),
        preprocessing=Preprocessing(intensity=Intensity(rule="clip", low=-175.0, high=250.0)),
        licence="stated as CC BY-NC 3.0 and as CC BY 3.0 in different places; read the release",
        access="TCIA collection NSCLC-Radiomics",
        expected={"train": 377, "test": 43},
    )


LUNG_CT = _task("lung_ct", "Primary lung tumours", ("GTV-1",))
LUNG_CT_ALL = _task("lung_ct_all", "All contoured lung tumours", ("GTV-*",))
