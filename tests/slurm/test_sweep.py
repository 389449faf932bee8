"""Sweep files: their grids, the shipped experiments, and estimates from declared sizes."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest

from medssl_bench import registry
from medssl_bench.errors import BenchError
from medssl_bench.record import Cell, Record
from medssl_bench.slurm.sweep import Sweep, load_sweep, sweep_names
from medssl_bench.slurm.sweep_estimate import Costs, estimate_sweep, recorded_costs
from medssl_bench.store import Store
from medssl_bench.tasks import load_tasks

PAPER_004 = {"primary", "few_shot", "matched_size", "corpus_size", "capacity", "table2"}
NINE = {
    "simmim", "inpainting", "reconstruction", "contrastive", "rotation", "dino", "ibot", "smit",
    "swinunetr",
}  # fmt: skip
"""The pretext tasks of paper 004, section 3.2."""


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    """No bench.yaml says otherwise."""
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "mine.yaml") -> Path:
    Path(name).write_text(text)
    return Path(name)


def test_a_list_where_run_takes_one_value_is_a_run_for_each():
    sweep = load_sweep(
        write(
            """
            runs:
              - methods: smit,simmim
                tasks: [amos_ct]
                shots: [5, 20%, full]
                corpus_size: [0, 250, 1000]
                crop: [96, 128]
                draws: 3
              - {methods: [scratch], tasks: amos_mri}
            """
        )
    )
    assert sweep.name == "mine"
    words = sweep.words()
    assert len(words) == 3 * 2 + 1
    assert [(w["corpus_size"], w["crop"]) for w in words[:6]] == [
        (0, 96), (0, 128), (250, 96), (250, 128), (1000, 96), (1000, 128),
    ]  # fmt: skip
    for one in words[:6]:
        assert one["methods"] == ("smit", "simmim") and one["shots"] == ("5", "20%", "full")
        assert one["draws"] == 3 and "seeds" not in one
    assert words[6] == {
        "methods": ("scratch",), "tasks": ("amos_mri",), "shots": ("full",), "settings": {},
    }  # fmt: skip
    assert all(one["corpus"] == "folder:x" for one in sweep.words("folder:x"))


def test_defaults_hold_for_every_run_that_says_nothing_else():
    sweep = load_sweep(
        write(
            """
            defaults: {methods: smit, backbone: swin_65m, set: {a.b: 1, c: 2}}
            runs:
              - {tasks: amos_ct}
              - {tasks: amos_mri, backbone: swin_tiny, methods: [dino], set: {c: 3}}
            """
        )
    )
    first, second = sweep.words()
    assert (first["backbone"], first["settings"]) == ("swin_65m", {"a.b": 1, "c": 2})
    assert (second["backbone"], second["methods"]) == ("swin_tiny", ("dino",))
    assert second["settings"] == {"a.b": 1, "c": 3}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("run: []", ["unknown key 'run'", "'runs'"]),
        ("runs: []", ["runs", "at least 1"]),
        ("name: a", ["'runs' is missing"]),
        ("runs: [{methods: smit}]", ["run 1 names no tasks"]),
        ("runs: [{methods: smit, tasks: a}, {tasks: a}]", ["run 2 names no methods"]),
        ("runs: [{method: smit, tasks: a}]", ["unknown key 'runs.0.method'", "methods"]),
        ("defaults: {task: a}\nruns: [{methods: smit, tasks: a}]", ["unknown key", "task"]),
        ("runs: [{methods: smit, tasks: a, draws: 0}]", ["draws", "greater than or equal to 1"]),
        ("runs: [smit]", ["runs.0"]),
        ("runs: smit", ["runs"]),
    ],
)
def test_a_fault_is_one_line_that_names_the_file(text, told):
    with pytest.raises(BenchError) as caught:
        load_sweep(write(text))
    message = str(caught.value)
    assert message.startswith("mine.yaml: ") and "\n" not in message
    for part in told:
        assert part in message


def test_an_unknown_sweep_is_told_with_the_nearest():
    with pytest.raises(BenchError, match="unknown sweep 'few_shots'. Did you mean 'few_shot'"):
        load_sweep("few_shots")


def test_every_experiment_of_the_papers_is_there():
    assert set(sweep_names()) == PAPER_004 | {"label_efficiency", "ablation"}
    for name in sweep_names():
        sweep = load_sweep(name)
        assert sweep.name == name
        assert ("paper 004" if name in PAPER_004 else "paper 003") in sweep.reference


@pytest.mark.parametrize("name", sweep_names())
def test_a_shipped_sweep_names_what_there_is(name):
    sweep = load_sweep(name)
    for words in sweep.words():
        for method in words["methods"]:
            assert method in registry.methods.entries()
        assert load_tasks(words["tasks"])
        assert words["corpus"] in registry.corpora.entries()
        assert words.get("backbone", "swin_65m") in registry.backbones.entries()
        assert words["profile"] == "paper" and words["settings"]["precision"] == "bf16-mixed"
    known = {*registry.tasks.entries(), *registry.corpora.entries()}
    assert set(sweep.expected) <= known


@pytest.mark.parametrize("name", sweep_names())
def test_the_comment_of_a_shipped_sweep_is_what_estimate_prints(name):
    file = resources.files("medssl_bench.slurm") / "sweeps" / f"{name}.yaml"
    text = estimate_sweep(load_sweep(name)).text()
    assert f"#\n{text}\nname: {name}\n" in file.read_text("utf-8"), f"bench sweep {name} --estimate"


def test_the_grids_are_the_papers():
    methods = {name: set().union(*(w["methods"] for w in load_sweep(name).words()))
               for name in PAPER_004}  # fmt: skip
    for name in ("primary", "matched_size", "table2"):
        assert methods[name] == NINE | {"scratch", "swinunetr_public"}
    assert methods["corpus_size"] == methods["capacity"] == {"smit"}
    sizes = {words["corpus_size"] for words in load_sweep("corpus_size").words()}
    assert sizes == {0, 500, 3000, 6000, 10000}  # section 5.7.1
    table2 = {words["tasks"]: words["shots"] for words in load_sweep("table2").words()}
    assert table2 == {("amos_ct",): ("100",), ("lung_ct",): ("350",)}  # section 5.7.3
    matched = {words["tasks"]: words["shots"] for words in load_sweep("matched_size").words()}
    assert matched == {
        ("amos_ct",): ("40",), ("amos_mri",): ("40",), ("lung_ct",): ("100",),
        ("lung_mri",): ("64",),
    }  # fmt: skip
    (few,) = load_sweep("few_shot").words()
    assert few["shots"] == ("5", "10", "20", "full")
    for words in load_sweep("label_efficiency").words():
        assert words["shots"] == ("20%", "40%", "60%", "80%", "full")
        assert ("brainmvp" in words["methods"]) == (words["backbone"] == "uniformer3d")


def test_the_ablation_switches_one_part_on_after_another():
    """Paper 003, Table 4: nothing, reconstruction, distillation too, contrast too."""
    from medssl_bench.methods.brainmvp import BrainMVP

    none, *steps = load_sweep("ablation").words()
    assert none["methods"] == ("scratch",) and len(steps) == 3
    weights = []
    for words in steps:
        assert words["methods"] == ("brainmvp",) and words["tasks"] == none["tasks"]
        changed = {
            name.removeprefix("methods.brainmvp."): value
            for name, value in words["settings"].items()
            if name.startswith("methods.brainmvp.")
        }
        config = BrainMVP.Config(**changed)
        weights.append((config.lambda_md, config.lambda_cl))
    assert weights == [(0, 0), (1, 0), (1, 1)]
    assert len(estimate_sweep(load_sweep("ablation")).pretrainings) == 3


def test_an_estimate_by_hand():
    found = estimate_sweep(load_sweep("table2"))
    steps = 500 * 10412 // 12 + 1  # 500 epochs of 10,412 scans, 12 a step
    organs, lung = -(-1000 * 100 // 3), -(-1000 * 350 // 3)
    document = found.as_json()
    assert (document["cells"], document["pretrainings"], document["imports"]) == (22, 9, 1)
    ours = document["backbones"]["swin_65m"]
    assert ours["pretraining_steps"] == 9 * steps
    # Contrastive, DINO, iBOT, SMIT and SwinUNETR take two crops of each scan.
    assert ours["pretraining_crops"] == steps * 12 * (4 + 2 * 5)
    assert (ours["cells"], ours["steps"]) == (20, 10 * (organs + lung))
    assert ours["crops"] == 3 * ours["steps"]
    assert document["backbones"]["swin_monai_legacy"]["cells"] == 2
    assert document["cases"] == {"amos_ct": 300, "ct_public": None, "lung_ct": 420}
    assert ours["gpu_hours"] is None and "GPU-hours unknown until measured" in found.text()


def test_what_runs_have_in_common_is_counted_once():
    sweep = Sweep.model_validate(
        {
            "name": "twice",
            "defaults": {"profile": "demo", "tasks": "phantom_ct", "shots": 5},
            "runs": [
                {"methods": ["scratch", "simmim"], "draws": 2},
                {"methods": ["simmim"], "draws": 3},
                {"methods": ["smit", "simmim"], "corpus_size": 0},  # scratch, of the first run
            ],
        }
    )
    found = estimate_sweep(sweep)
    assert (len(found.pretrainings), len(found.cells)) == (1, 2 + 3)
    assert found.cases == {"phantom_ct": 64}


def test_templates_in_fine_tuning_need_no_pretraining_and_cost_cells_of_their_own():
    asked = {"methods": ["scratch", "brainmvp"], "tasks": ["phantom_brain_tumor"], "shots": ["5"]}
    without = {"methods.brainmvp.tuning.use": False}
    runs = [{**asked, "profile": "demo"}, {**asked, "profile": "demo", "set": without}]
    found = estimate_sweep(Sweep.model_validate({"name": "x", "runs": runs}))
    assert len(found.pretrainings) == 1
    assert sorted(part.tuned for part in found.cells.values()) == [False, False, True]
    ((_, tuned),) = [(key, part) for key, part in found.cells.items() if part.tuned]
    kind = (tuned.backbone, tuned.task, str(tuned.crop), tuned.steps)
    costs = Costs("a GPU", {}, {(*kind, False): 1.0, (*kind, True): 2.0})
    assert sum(filter(None, map(costs.of, found.cells.values()))) == 4.0


def test_a_size_that_nobody_declares_is_not_made_up():
    asked = {"methods": ["scratch"], "tasks": ["lung_mri"], "shots": ["5", "full"], "draws": 1}
    sweep = Sweep.model_validate({"name": "x", "runs": [{**asked, "profile": "paper"}]})
    found = estimate_sweep(sweep)
    assert sorted(str(part.steps) for part in found.cells.values()) == ["5000", "None"]
    assert "2 cells, 5,000 steps, 15,000 crops, and those of lung_mri, of no declared size" in (
        found.text()
    )
    known = sweep.model_copy(update={"expected": {"lung_mri": {"train": 64, "test": 17}}})
    steps = {part.steps for part in estimate_sweep(known).cells.values()}
    assert steps == {5000, -(-1000 * 64 // 3)}


def test_hours_are_those_of_recorded_gpu_work():
    sweep = Sweep.model_validate(
        {
            "name": "x",
            "runs": [
                {"methods": "simmim", "tasks": "phantom_ct", "shots": "5", "profile": "demo",
                 "corpus": "phantom_ct"},
            ],
        }
    )  # fmt: skip
    found = estimate_sweep(sweep)
    crop = "(32, 32, 32)"
    start = {("simmim", "swin_tiny", crop): 0.001}
    cell = {("swin_tiny", "phantom_ct", crop, 260, False): 0.25}
    found.costs = Costs("a GPU", start, cell)
    assert found.hours("swin_tiny") == pytest.approx(360 * 4 * 0.001 + 0.25)
    assert "# swin_tiny: GPU-hours about 1.7 on a GPU" in found.text()
    found.costs = Costs("a GPU", start, {})
    assert found.hours("swin_tiny") is None
    found.costs = Costs("a GPU", {("simmim", "swin_tiny", "(96, 96, 96)"): 0.001}, cell)
    assert found.hours("swin_tiny") is None


def test_costs_of_a_results_folder(tmp_path):
    example = json.loads((Path(__file__).parents[1] / "example_record.json").read_bytes())
    store = Store(tmp_path / "results")
    assert recorded_costs(store) is None
    cases = pd.DataFrame({"case": ["a"], "target": ["liver"], "status": ["ok"]})
    for seed, hours in enumerate((0.5, 0.1, 0.3)):
        cell = {**example["cell"], "seed": seed}
        data = {**example, "cell": cell, "cost": {**example["cost"], "device_hours": hours}}
        data["key"] = Cell(**cell).key
        record = Record.model_validate_json(json.dumps(data))
        store.write(record, cases, pd.DataFrame({"step": [1]}))
    costs = recorded_costs(store)
    assert costs is not None and costs.device == example["machine"]["device"]
    ((kind, hours),) = costs.per_cell.items()
    assert kind[:2] == (example["cell"]["backbone"], example["cell"]["task"])
    assert kind[3] == example["cost"]["steps"] and hours == 0.3
