"""ISLES 2022: ischaemic stroke lesions on DWI, ADC and FLAIR; Hernandez Petzsche et al., 2022.

250 labelled cases. The mask lies on the grid of DWI and ADC; FLAIR has a grid of its own and is
resampled onto that of DWI, linearly and by physical position. Both trees of the release are read,
and names in large or small letters.

Split as in paper 003 (the lists of its code): 36 cases are tested and 202 train; it has no
validation cases. It leaves out twelve cases without saying why; they are left out here too, so that
numbers are of the same cases. Three of the 250 have no lesion.

Working grid 1.5 mm as in paper 003; intensities from the 1st to the 99th percentile of a channel,
as for the other brain tasks here (its code takes the 5th to 95th without clipping).
"""

from __future__ import annotations

from medssl_bench.task import Intensity, Preprocessing
from medssl_bench.tasks.release import Release, Samples, Tree
from medssl_bench.tasks.split import Split


def _cases(numbers: str) -> tuple[str, ...]:
    return tuple(f"sub-strokecase{int(number):04d}" for number in numbers.split())


TEST = _cases(
    "5 20 26 33 34 35 57 61 62 74 92 102 115 119 127 129 139 143 144 147 149 151 158 162 166 169"
    " 172 181 182 183 189 206 225 230 236 242"
)
"""Tested in paper 003."""

LEFT_OUT = _cases("4 13 22 31 40 103 112 121 130 202 211 220")
"""In the release, and on neither side in paper 003."""

TRAIN = tuple(
    case
    for case in _cases(" ".join(map(str, range(1, 251))))
    if case not in TEST and case not in LEFT_OUT
)

_SCAN = "sub-strokecase{id}_ses-0001"
_SESSION = "sub-strokecase{id}/ses-0001"
_LABEL = f"**/derivatives/{_SESSION}/{_SCAN}_msk.nii*"

ISLES22 = Release(
    name="isles22",
    summary="Stroke lesions of ISLES 2022 on DWI, ADC and FLAIR; test = paper 003's 36",
    modality="MR",
    kind="tumour",
    channels=("DWI", "ADC", "FLAIR"),
    classes={1: "lesion"},
    trees=(
        Tree(
            name="Zenodo",
            images={
                "DWI": f"**/{_SESSION}/dwi/{_SCAN}_dwi.nii*",
                "ADC": f"**/{_SESSION}/dwi/{_SCAN}_adc.nii*",
                "FLAIR": f"**/{_SESSION}/anat/{_SCAN}_FLAIR.nii*",
            },
            label=_LABEL,
            shown=(
                "ISLES-2022/\n"
                "  sub-strokecase0001/ses-0001/anat/sub-strokecase0001_ses-0001_FLAIR.nii.gz\n"
                "  sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_dwi.nii.gz (adc)\n"
                "  derivatives/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz"
            ),
            any_case=True,
        ),
        Tree(
            name="challenge",
            images={
                channel: f"**/rawdata/{_SESSION}/{_SCAN}_{channel.lower()}.nii*"
                for channel in ("DWI", "ADC", "FLAIR")
            },
            label=_LABEL,
            shown=(
                "rawdata/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_dwi.nii.gz (adc,"
                " flair)\n"
                "derivatives/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz"
            ),
            any_case=True,
        ),
    ),
    folders=("ISLES-2022", "ISLES2022"),
    case="sub-strokecase{id}",
    split=Split(test=TEST, train=TRAIN),
    samples=Samples(
        numbers=("0001", "0002", "0003", "0005", "0020"), codes=("LAS",), apart=("FLAIR",)
    ),
    preprocessing=Preprocessing(
        spacing=(1.5, 1.5, 1.5),
        intensity=Intensity(rule="percentile", low=1.0, high=99.0),
        grid="DWI",
    ),
    licence="CC BY-SA 4.0",
    access="https://zenodo.org/records/7960856",
    expected={"train": len(TRAIN), "test": len(TEST)},
)
