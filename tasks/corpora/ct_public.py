"""The public scans among the 10,412 CT of paper 004's corpus: four datasets, whichever are there.

Paper 004 pretrains on these and on scans of its institution that are not public, so its corpus
cannot be rebuilt. Of Pancreas-CT, cases 25 and 70 are left out: they are case 2 again, which its
second version removed. The challenge's subset of the COVID scans (``COVID-19-20_v2``) and the label
maps beside scans are passed over. Scaled as there: 1.5x1.5x2 mm, [-500, 500] HU.
"""

from __future__ import annotations

from medssl_bench.task import Intensity, Preprocessing
from medssl_bench.tasks.corpora.published import Part, Published

CT = Preprocessing(spacing=(1.5, 1.5, 2.0), intensity=Intensity(rule="clip", low=-500, high=500))
"""Paper 004, section 4."""

CT_PUBLIC = Published(
    name="ct_public",
    summary="Public CT of paper 004's corpus: COVID, Pancreas-CT, MELA, KiPA; whichever are there",
    preprocessing={"CT": CT},
    together=True,
    parts=(
        Part(
            name="CT Images in COVID-19",
            images={"CT": "**/volume-covid19-A-{id}.nii*"},
            ids="[0-9]+",
            case="covid19_{id}",
            shown="CT Images in COVID-19/volume-covid19-A-0000.nii.gz ...",
            expected=771,
            samples=("0000", "0314", "0000_seg"),
            codes="LPS",
        ),
        Part(
            name="Pancreas-CT",
            images={"CT": "**/PANCREAS_{id}/*/*"},
            ids="(?!0025|0070)[0-9]{4}",
            case="pancreas_{id}",
            shown="Pancreas-CT/PANCREAS_0001/<study>/<series>/1-001.dcm ...",
            expected=80,
            samples=("0001", "0025"),
        ),
        Part(
            name="MELA 2022",
            images={"CT": "**/mela_{id}.nii*"},
            ids="[0-9]+",
            case="mela_{id}",
            shown="MELA2022/mela_0001.nii.gz ...",
            samples=("0001",),
        ),
        Part(
            name="KiPA 2022, train",
            images={"CT": "**/train/image/{id}.nii*"},
            ids="[0-9]{1,2}",
            case="kipa_{id}",
            shown="KiPA2022/train/image/0.nii.gz ... 69",
            expected=70,
            samples=("0",),
        ),
        Part(
            name="KiPA 2022, test",
            images={"CT": "**/test/image/{id}.nii*"},
            ids="[0-9]{1,2}",
            case="kipa_{id}",
            shown="KiPA2022/test/image/70.nii.gz ... 99",
            expected=30,
            samples=("70",),
        ),
    ),
    licence="of each source: see there",
    access="TCIA (CT Images in COVID-19; Pancreas-CT), mela.grand-challenge.org and"
    " kipa22.grand-challenge.org",
)
