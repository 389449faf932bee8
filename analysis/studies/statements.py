"""Sentences of the papers, each recomputed from the cells that ``results/reported`` prints.

``text_claims_check.csv`` lists the same statements in the same words and order, with notes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

LOWER_IS_BETTER = ("hd95",)
CELL = ["source", "table", "task", "target", "metric", "shots"]
"""What the methods of one column of a table share."""


@dataclass(frozen=True)
class Statement:
    """A sentence of a paper and how it follows from printed cells."""

    source: str
    section: str
    words: str
    stated: float | str
    compute: Callable[[pd.DataFrame], float | str]
    """From the cells of the source."""
    digits: int = 2
    facts: bool = False
    """The cells are those of ``reported_facts.csv``, not of ``reported_results.csv``."""


def check_statements(results: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Return one row a statement: what is stated, what the tables give, whether they agree."""
    rows = []
    for one in STATEMENTS:
        cells = facts if one.facts else results
        found = one.compute(cells[cells["source"] == one.source])
        if isinstance(found, float) and isinstance(one.stated, float):
            agrees = round(abs(found - one.stated), 6) < 0.5 * 10**-one.digits
            words = (f"{one.stated:.{one.digits}f}", f"{found:.{one.digits}f}")
        else:
            words = (str(one.stated), str(found))
            agrees = words[0] == words[1] or _is_most(*words)
        rows.append(
            {
                "source": one.source,
                "section": one.section,
                "statement": one.words,
                "stated": words[0],
                "computed": words[1],
                "agrees": "yes" if agrees else "no",
            }
        )
    return pd.DataFrame(rows)


def _is_most(stated: str, found: str) -> bool:
    """Whether ``most of 9`` is stated and more than half of 9 are found, as in ``6 of 9``."""
    count, _, total = found.partition(" of ")
    return stated == f"most of {total}" and 2 * int(count) > int(total)


def _cells(printed: pd.DataFrame, /, **words: str | Sequence[str]) -> pd.DataFrame:
    """Return the cells whose columns hold these words; of several words, any."""
    for column, word in words.items():
        printed = printed[printed[column].isin([word] if isinstance(word, str) else word)]
    return printed


def _value(printed: pd.DataFrame, /, **words: str) -> float:
    """Return the one printed value that these columns name."""
    values = _cells(printed, **words)["value"].unique()
    if len(values) != 1:
        raise ValueError(f"{words}: {len(values)} different printed values, one is meant")
    return float(values[0])


def _highest(printed: pd.DataFrame, /, **words: str | Sequence[str]) -> float:
    return float(_cells(printed, **words)["value"].max())


def _minus(first: Mapping[str, str], second: Mapping[str, str]) -> Callable[..., float]:
    return lambda printed: _value(printed, **first) - _value(printed, **second)


def _ranked(printed: pd.DataFrame, method: str) -> pd.DataFrame:
    """Return the cells of a method with their ``rank`` in the column; of a tie the worse rank."""
    good = printed["value"].mask(printed["metric"].isin(LOWER_IS_BETTER), -printed["value"])
    columns = [printed[name] for name in CELL]
    ranks = good.groupby(columns).rank(ascending=False, method="max")
    return printed.assign(rank=ranks)[printed["method"] == method]


def _medcoss(
    section: str, words: str, stated: float, first: str, second: str, task: str, metric: str
) -> Statement:
    column = {"task": task, "metric": metric}
    difference = _minus({"method": first, **column}, {"method": second, **column})
    return Statement("medcoss", section, words, stated, difference)


def _sets_at_rank(printed: pd.DataFrame, rank: int) -> float:
    """On how many sets MedCoSS has this rank or a better one in every metric."""
    ranked = _ranked(_cells(printed, table="Table 2"), "medcoss")
    return float((ranked.groupby("task")["rank"].max() <= rank).sum())


def _umif(task: str, shots: str, backbone: str, stated: float) -> Statement:
    column = {"table": "Table 3", "task": task, "shots": shots}
    rival = {"method": "med_unic", "backbone": backbone, **column}
    words = f"UmiF minus Med-UniC ({backbone}), {task} {shots}"
    return Statement("umif", "4.3", words, stated, _minus({"method": "umif", **column}, rival), 1)


def _vqa(target: str, stated: float) -> Statement:
    column = {"table": "Table 5", "target": target}
    difference = _minus({"method": "umif", **column}, {"method": "mumc", **column})
    return Statement("umif", "4.3", f"UmiF minus MUMC, VQA-RAD {target}", stated, difference, 1)


def _columns_led(printed: pd.DataFrame) -> str:
    """In how many columns of its table 2 UmiF alone is best."""
    ranks = _ranked(_cells(printed, table="Table 2"), "umif")["rank"]
    return f"{(ranks == 1).sum()} of {len(ranks)}"


def _gains(printed: pd.DataFrame) -> pd.Series[float]:
    """BrainMVP's best value on a set minus that of every other SSL method, in percent points."""
    points = printed["value"].mask(printed["unit"] == "fraction", 100 * printed["value"])
    ours = points[printed["method"] == "brainmvp"].groupby(printed["task"]).max()
    others = ~printed["method"].isin(["brainmvp", "scratch"])
    return printed.loc[others, "task"].map(ours) - points[others]


def _dice_gains(printed: pd.DataFrame) -> pd.Series[float]:
    return _gains(_cells(printed, table="Table 2", target=("AVG", "mean")))


def _medical_gains(printed: pd.DataFrame) -> pd.Series[float]:
    """Gains in Dice over methods for medical images, not those pretrained on natural ones."""
    return _dice_gains(printed[printed["pretraining"] != "Natural"])


def _accuracy_gains(printed: pd.DataFrame) -> pd.Series[float]:
    return _gains(_cells(printed, table="Table 3", metric="acc"))


def _uniformer_gains(printed: pd.DataFrame) -> pd.Series[float]:
    """Gains in accuracy where BrainMVP is its row on UniFormer alone."""
    other = (printed["method"] == "brainmvp") & (printed["backbone"] != "UniFormer")
    return _accuracy_gains(printed[~other])


def _range(
    what: str, gains: Callable[[pd.DataFrame], pd.Series[float]], least: float, most: float
) -> tuple[Statement, Statement]:
    """Make the two statements of a range of gains in BrainMVP's abstract."""
    return (
        Statement("brainmvp", "Abstract", f"smallest {what}", least,
                  lambda printed: float(gains(printed).min())),
        Statement("brainmvp", "Abstract", f"largest {what}", most,
                  lambda printed: float(gains(printed).max())),
    )  # fmt: skip


def _abide(metric: str, ours: str, rival: str, stated: float) -> Statement:
    words = f"ABIDE-I {metric}: better of the two BrainMVP rows ({ours}) minus best SSL ({rival})"
    column = {"table": "Table 3", "task": "abide1", "metric": metric}
    return Statement(
        "brainmvp", "4.3", words, stated,
        lambda printed: float(_gains(_cells(printed, **column)).min()),
    )  # fmt: skip


def _lowest_hd95(printed: pd.DataFrame) -> str:
    """On how many of the six sets BrainMVP has the lowest average HD95."""
    averages = _cells(printed, table=("Table 5", "Table 6"), target=("AVG", "mean"))
    best = _ranked(averages, "brainmvp").groupby("task")["rank"].min()
    return f"{(best == 1).sum()} of {len(best)}"


def _lowest_organs(printed: pd.DataFrame) -> float:
    """Return the lowest average over organs of pretrained models, without the misprinted row."""
    pretrained = printed[~printed["method"].isin(["scratch", "inpaint"])]
    return float(_cells(pretrained, **ORGANS)["value"].min())


def _lowest_tumour(printed: pd.DataFrame) -> str:
    """Name the pretrained model that is lowest on lung tumours."""
    pretrained = _cells(printed[printed["method"] != "scratch"], **TUMOUR)
    return str(pretrained["method"].iloc[pretrained["value"].argmin()])


def _best(printed: pd.DataFrame, /, **words: str) -> str:
    """Name the method with the highest value of a column."""
    column = _cells(printed, **words)
    return str(column["method"].iloc[column["value"].argmax()])


def _volumes(facts: pd.DataFrame, *, as_printed: bool) -> float:
    """Scans pretrained on and cases of Table 1: its printed totals, or the sum of its rows."""
    totals = facts["subject"] == "total as printed"
    cases = facts[(facts["where"] == "Table 1") & (totals == as_printed)]
    scans = facts[facts["quantity"] == "n_scans"]
    return float(pd.concat([scans, cases])["value"].astype(int).sum())


PED = {"table": "Table 2", "task": "brats_ped", "target": "AVG"}
BRAINS = {"table": "Table 2", "task": "mrbrains13", "target": "AVG", "backbone": "UniFormer"}
ORGANS = {"table": "Table 2", "task": "amos_ct", "target": "AVG"}
TUMOUR = {"table": "Table 2", "task": "lung_ct"}

STATEMENTS = (
    _medcoss(
        "4.3", "NCH ACC, Path. minus X-ray", 2.36, "single_path", "single_xray", "nch", "acc"
    ),
    _medcoss("4.3", "NCH F1, Path. minus X-ray", 3.44, "single_path", "single_xray", "nch", "f1"),
    _medcoss(
        "4.3", "RICORD ACC, CT minus X-ray", 3.58, "single_ct", "single_xray", "ricord", "acc"
    ),
    _medcoss("4.3", "RICORD F1, CT minus X-ray", 2.81, "single_ct", "single_xray", "ricord", "f1"),
    _medcoss("4.4", "FD minus ER, average acc", 3.19, "medcoss_fd", "er", "average_cls", "acc"),
    _medcoss("4.4", "FD minus ER, average auc", 1.08, "medcoss_fd", "er", "average_cls", "auc"),
    _medcoss("4.4", "FD minus ER, average f1", 3.39, "medcoss_fd", "er", "average_cls", "f1"),
    _medcoss("4.4", "FD minus ER, average dice", 1.47, "medcoss_fd", "er", "average_seg", "dice"),
    _medcoss("4.4", "FD minus ER, average hd95", -9.04, "medcoss_fd", "er", "average_seg", "hd95"),
    Statement(
        "medcoss", "4.3", "datasets with best or second-best result in every metric", 8.0,
        lambda printed: _sets_at_rank(printed, 2), digits=0,
    ),
    Statement(
        "medcoss", "4.3",
        "datasets where MedCoSS beats EWC, ER, PackNet and CaSSLe in every metric", 8.0,
        lambda printed: _sets_at_rank(
            _cells(printed, method=("medcoss", "ewc", "er", "packnet", "cassle")), 1
        ),
        digits=0,
    ),
    _umif("siim_seg", "1%", "ViT-B", 1.4),
    _umif("siim_seg", "10%", "ViT-B", 0.3),
    _umif("siim_seg", "100%", "ViT-B", 0.9),
    _umif("rsna_seg", "1%", "ViT-B", 0.8),
    _umif("rsna_seg", "10%", "ViT-B", 0.5),
    _umif("rsna_seg", "100%", "ViT-B", 0.3),
    _umif("rsna_det", "1%", "ResNet-50", 2.1),
    _umif("rsna_det", "10%", "ResNet-50", 1.1),
    _umif("rsna_det", "100%", "ResNet-50", 1.1),
    _vqa("open", 0.8),
    _vqa("closed", 0.7),
    _vqa("overall", 0.7),
    Statement(
        "umif", "4.3", 'Table 2: "best performance in most settings"', "most of 9", _columns_led
    ),
    Statement(
        "brainmvp", "4.3", "MRBrainS13: BrainMVP minus UniFormer scratch", 4.49,
        _minus({"method": "brainmvp", **BRAINS}, {"method": "scratch", **BRAINS}),
    ),
    Statement(
        "brainmvp", "4.3", "PED: BrainMVP minus best MIM-based general SSL (MAE3D)", 9.15,
        lambda printed: _highest(printed, method="brainmvp", **PED)
        - _highest(printed, method=("mae3d", "simmim"), **PED),
    ),
    Statement(
        "brainmvp", "4.3", "PED: BrainMVP minus MoCoV3", 9.16,
        lambda printed: _highest(printed, method="brainmvp", **PED)
        - _value(printed, method="mocov3", **PED),
    ),
    *_range("Dice gain on six segmentation sets vs all SSL methods", _dice_gains, 0.28, 14.47),
    *_range(
        "Dice gain on six segmentation sets vs medical SSL methods only",
        _medical_gains, 0.28, 14.47,
    ),
    *_range(
        "accuracy gain over any SSL method, four classification sets:"
        " better of the two BrainMVP rows", _accuracy_gains, 0.65, 18.07,
    ),
    *_range(
        "accuracy gain over any SSL method, four classification sets: BrainMVP (UniFormer)",
        _uniformer_gains, 0.65, 18.07,
    ),
    _abide("acc", "UNET3D", "transvw", 5.46),
    _abide("auc", "UniFormer", "mocov3", 0.45),
    _abide("f1", "UNET3D", "mg", 4.35),
    Statement(
        "brainmvp", "4.3", "ADHD-200 previous best accuracy", 0.6818,
        lambda printed: _highest(
            printed[printed["method"] != "brainmvp"], table="Table 3", task="adhd200", metric="acc"
        ),
        digits=4,
    ),
    Statement(
        "brainmvp", "D",
        '"BrainMVP consistently exhibits smaller structural errors" (lowest HD95)', "6 of 6",
        _lowest_hd95,
    ),
    Statement(
        "ssl_transfer", "5.7.3", "SMIT average organs", 0.87,
        lambda printed: _value(printed, method="smit", **ORGANS),
    ),
    Statement(
        "ssl_transfer", "5.7.3", "scratch average organs", 0.82,
        lambda printed: _value(printed, method="scratch", **ORGANS),
    ),
    Statement(
        "ssl_transfer", "5.7.3",
        "least accurate pretrained model, average organs (Inpaint row left out)", 0.85,
        _lowest_organs,
    ),
    Statement(
        "ssl_transfer", "5.7.3",
        "least accurate pretrained method is the published SwinUNETR checkpoint (tumour)",
        "swinunetr_public", _lowest_tumour,
    ),
    Statement(
        "ssl_transfer", "3.4 and Table 1",
        "total volumes: 10,412 + printed totals 1,028 + 437", 11861.0,
        lambda facts: _volumes(facts, as_printed=True), digits=0, facts=True,
    ),
    Statement(
        "ssl_transfer", "3.4 and Table 1",
        "total volumes: 10,412 + sums of the Table 1 rows", 11861.0,
        lambda facts: _volumes(facts, as_printed=False), digits=0, facts=True,
    ),
    Statement(
        "ssl_transfer", "Abstract", "highest accuracy, average organs", "smit",
        lambda printed: _best(printed, **ORGANS),
    ),
    Statement(
        "ssl_transfer", "Abstract", "highest accuracy, lung tumour (Inpaint row left out)", "smit",
        lambda printed: _best(printed[printed["method"] != "inpaint"], **TUMOUR),
    ),
)  # fmt: skip
"""In the order of ``text_claims_check.csv``."""
