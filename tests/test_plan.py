"""Keys: what decides a result is in them, what does not is not."""

from pathlib import Path

import nibabel as nib
import numpy as np

from medssl_bench.config import load_settings
from medssl_bench.plan import Plan, Request, build_plan
from medssl_bench.store import Store
from medssl_bench.training import Compute


def plan_of(corpus: str, results: Path) -> Plan:
    settings = load_settings("demo", {"corpus": corpus}, ["corpus_size=null"])
    request = Request(("simmim",), ("phantom_ct",), ("5",), settings)
    store = Store(results, read_only=True, missing_ok=True)
    return build_plan(request, Compute("cpu", "32-true", 1), store)


def test_corpora_of_one_key_are_sampled_in_one_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("a_ct", "b_ct"):
        for number in range(2):
            voxels = rng.integers(-500, 500, (8, 8, 8)).astype(np.int16)
            (tmp_path / folder).mkdir(exist_ok=True)
            path = tmp_path / folder / f"scan{number}.nii.gz"
            nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    one, other = (
        plan_of(f"folder:{tmp_path / first},{tmp_path / second}", tmp_path / "results")
        for first, second in (("a_ct", "b_ct"), ("b_ct", "a_ct"))
    )
    assert set(one.pretrainings) == set(other.pretrainings)
    assert one.corpus is not None and other.corpus is not None
    assert [case.id for case in one.corpus.cases] == [case.id for case in other.corpus.cases]
