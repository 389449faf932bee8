"""``checkpoint:FILE`` and ``swinunetr_public``: encoders of others, from command to page."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from monai.networks.nets.swin_unetr import SwinTransformer

from medssl_bench import load_encoder, registry
from medssl_bench.analysis.tables import leaderboard
from medssl_bench.digest import file_digest, weights_digest
from medssl_bench.errors import BenchError
from medssl_bench.networks import build_encoder
from medssl_bench.store import Store

PLUGIN = Path(__file__).parents[1] / "plugins" / "small.py"
PLAN = ["--tasks", "phantom_ct", "--shots", "5", "--profile", "demo", "--dry-run"]


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        yield


def save_tiny(path: Path) -> dict[str, torch.Tensor]:
    """Write weights of ``swin_tiny`` as a script of several devices would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = build_encoder("swin_tiny").state_dict()
    wrapped = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 3, "state_dict": wrapped | {"module.head.weight": torch.ones(2)}}, path)
    return state


def save_public(path: Path) -> None:
    """Write weights in the layout of ``model_swinvit.pt``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    network = SwinTransformer(1, 48, (7,) * 3, (2,) * 3, (2,) * 4, (3, 6, 12, 24))
    state = {
        f"module.{name}".replace("linear1", "fc1").replace("linear2", "fc2"): value
        for name, value in network.state_dict().items()
    }
    torch.save({"state_dict": state}, path)


@pytest.fixture
def small(bench) -> Iterator[Callable[..., str]]:
    """Run a command on the task of six phantoms; return what it prints."""
    settings = ("finetune.steps=2", "evaluate.overlap=0", "tracking=false")

    def run(*words: str) -> str:
        outcome = bench(
            *words, "--plain", "--device", "cpu", "--plugin", PLUGIN, "--profile", "demo",
            "--results", "results", *(word for setting in settings for word in ("--set", setting)),
        )  # fmt: skip
        assert outcome.code == 0, outcome
        return outcome.out

    yield run
    registry.tasks.entries().pop("phantom_small")
    for name in [name for name in sys.modules if name.startswith("bench_plugin_small_")]:
        del sys.modules[name]


@pytest.mark.timeout(600)
def test_a_file_goes_from_the_command_to_a_row_of_its_own(bench, small) -> None:
    state = save_tiny(Path("theirs/net.v2.pt"))
    grid = ("run", "--tasks", "phantom_small", "--shots", "2")
    first = (
        "--methods", "scratch,checkpoint:theirs/net.v2.pt",
        "--set", "methods.checkpoint:net-v2.licence=MIT", "--set", "methods.checkpoint.corpus=CTs",
    )  # fmt: skip
    told = small(*grid, *first)
    assert "imports: 1 to read (checkpoint:net-v2 from theirs/net.v2.pt)" in told

    store = Store("results", read_only=True)
    records = {record.cell.method: record for record in store.records()}
    record = records["checkpoint:net-v2"]
    assert (record.corpus, record.pretrain_seed, record.pretrained) == ("CTs", None, None)
    assert record.cell.protocol == records["scratch"].cell.protocol
    assert record.versions["pretraining.import"] == 1
    assert record.digests.pretraining_weights == weights_digest(state)
    info = store.read_pretraining_info(record.cell.pretraining)
    assert info["source"] == {
        "file": "net.v2.pt", "sha256": file_digest(Path("theirs/net.v2.pt")),
        "layout": "plain", "holder": "state_dict",
    }  # fmt: skip
    assert (info["licence"], info["corpus"], info["reference"]) == (
        "MIT", "CTs", "that of the file",
    )  # fmt: skip
    assert info["tensors"]["unexpected"] == ["head.weight"]
    assert len(info["tensors"]["matched"]) == len(state)
    encoder = load_encoder(store.pretraining_folder(record.cell.pretraining))
    assert weights_digest(encoder.state_dict()) == weights_digest(state)

    again = small(*grid, *first, "--dry-run")
    assert "imports: 0 to read, 1 recorded" in again
    assert "cells: 0 to run, 2 recorded and skipped" in again

    # Another file of the same name is another pretraining, and never in the same row.
    save_tiny(Path("others/net.v2.pt"))
    small(*grid, "--methods", "checkpoint:others/net.v2.pt")
    rows = leaderboard(store.cases())
    mine = rows[rows["method"] == "checkpoint:net-v2"]
    assert len(mine) == 2 and mine["pretraining"].nunique() == 2
    assert list(mine["n_runs"]) == [1, 1] and list(mine["gain_missing"]) == ["", ""]

    key = record.cell.pretraining
    words = ("--checkpoint", key[:10], "--to", "safetensors", "--results", "results")
    done = bench("export", *words, "--out", "mine.safetensors", "--json")
    assert json.loads(done.out) == {
        "to": "safetensors", "file": "mine.safetensors", "card": "mine.safetensors.md", "key": key,
        "method": "checkpoint:net-v2", "backbone": "swin_tiny",
    }  # fmt: skip
    card = Path("mine.safetensors.md").read_text()
    assert "| phantom_small | 2 | 0 | 0 |" in card and "Licence of the weights | MIT" in card
    assert (
        "there is such a file already" in bench("export", *words, "--out", "mine.safetensors").line
    )

    # Our own exports and folders are files like any other.
    ours = f"checkpoint:mine.safetensors,checkpoint:results/pretraining/{key}"
    told = small("pretrain", "--methods", ours)
    assert "2 of 2 pretrainings are recorded" in told
    infos = {info["method"]: info for info in store.pretrainings()}
    for name in ("checkpoint:mine", f"checkpoint:{key[:12]}"):
        assert infos[name]["source"]["layout"] == "medssl"
        assert infos[name]["weights_digest"] == weights_digest(state)
    for name in ("corpus", "licence", "reference"):
        assert infos[f"checkpoint:{key[:12]}"][name] == info[name]


def test_the_public_weights_run_on_their_own_backbone(bench) -> None:
    save_public(Path("data/checkpoints/model_swinvit.pt"))
    command = (
        "run", "--methods", "scratch,swinunetr_public", *PLAN, "--data", "data",
        "--set", "finetune.crop=[64,64,64]",
    )  # fmt: skip
    document = json.loads(bench(*command, "--json").out)
    backbones = {cell["method"]: cell["backbone"] for cell in document["cells"]}
    assert backbones == {"scratch": "swin_tiny", "swinunetr_public": "swin_monai_legacy"}
    (job,) = document["imports"]
    assert job["key"] in {cell["pretraining"] for cell in document["cells"]}
    assert job["file"] == "data/checkpoints/model_swinvit.pt" and not job["recorded"]
    assert document["pretrainings"] == []
    assert any("run scratch with --backbone swin_monai_legacy" in w for w in document["warnings"])
    text = bench(*command).out
    assert "backbone swin_tiny (swinunetr_public: swin_monai_legacy)" in text
    # The same file is worth another word where the merging is another.
    elsewhere = bench(*command, "--set", "methods.swinunetr_public.backbone=swin_monai").out
    assert "swin_monai_legacy does as it did" in elsewhere


def test_all_methods_leave_out_what_has_no_file(bench) -> None:
    methods = [
        name
        for name, entry in registry.methods.entries().items()
        if not entry.argument and not entry.named_only
    ]
    command = ("run", "--methods", "all", *PLAN, "--json")
    document = json.loads(bench(*command).out)
    planned = {cell["method"] for cell in document["cells"]}
    assert planned == set(methods) - {"swinunetr_public", "brainmvp"}
    public, brain = sorted(document["warnings"], key=len, reverse=True)[:2]
    assert public.startswith("left out: swinunetr_public: no weights; download https://")
    assert brain.startswith("left out: brainmvp on corpus phantom_ct: case ")


def test_names_with_an_argument_are_known_by_their_first_word() -> None:
    entry = registry.methods.entries()["checkpoint"]
    assert registry.methods.entry("checkpoint:any") is entry
    assert registry.methods.match("checkpoint:a/b[1].pt") == ["checkpoint:a/b[1].pt"]
    for pattern in ("all", "c*", "family:published"):
        assert "checkpoint" not in registry.methods.match(pattern)
    for pattern in ("checkpoint", "checkpoint:"):
        with pytest.raises(BenchError, match="checkpoint is written checkpoint:FILE"):
            registry.methods.match(pattern)
    with pytest.raises(BenchError, match="unknown method 'smit:x'"):
        registry.methods.entry("smit:x")


def tiny(path: str) -> Callable[[], object]:
    return lambda: save_tiny(Path(path))


@pytest.mark.parametrize(
    ("prepare", "methods", "more", "told"),
    [
        (None, "checkpoint:gone.pt", [], ["checkpoint:gone.pt: no such file"]),
        (None, "checkpoint", [], ["checkpoint:FILE"]),
        (
            lambda: Path("cut.pt").write_bytes(b"PK\x03\x04 and then nothing"),
            "checkpoint:cut.pt",
            [],
            ["cut.pt: cut short, or damaged"],
        ),
        (
            lambda: torch.save({"a": torch.ones(2), "f": torch.nn.Linear(2, 2)}, "code.pt"),
            "checkpoint:code.pt",
            [],
            ["code.pt: holds code (torch.nn.modules.linear.Linear)", "tensors alone"],
        ),
        (
            tiny("net.pt"),
            "checkpoint:net.pt",
            ["--backbone", "swin_monai"],
            ["not the weights of swin_monai", "tensors matched", "they fit swin_tiny"],
        ),
        (
            tiny("net.pt"),
            "checkpoint:net.pt",
            ["--set", "methods.checkpoint:net.licens=MIT"],
            ["'methods.checkpoint:net.licens'", "'methods.checkpoint:net.licence'"],
        ),
        (
            tiny("net.pt"),
            "checkpoint:net.pt",
            ["--set", "methods.checkpoint:nets.licence=MIT"],
            ["methods.checkpoint:nets: no method of this name", "'checkpoint:net'"],
        ),
        (
            tiny("net.pt"),
            "checkpoint:net.pt",
            ["--set", "methods.checkpoint:net.backbone=swin_tinny"],
            ["unknown backbone 'swin_tinny'", "'swin_tiny'"],
        ),
        (
            lambda: (save_tiny(Path("a/net.pt")), save_tiny(Path("b/net.pt"))),
            "checkpoint:a/net.pt,checkpoint:b/net.pt",
            [],
            ["a/net.pt and b/net.pt are both called checkpoint:net"],
        ),
        (
            None,
            "swinunetr_public",
            [],
            ["model_swinvit.pt", "https:", "methods.swinunetr_public.path"],
        ),
        (
            None,
            "swinunetr_public",
            ["--set", "methods.swinunetr_public.path=gone.pt"],
            ["methods.swinunetr_public.path: no such file gone.pt"],
        ),
        (
            tiny("net.pt"),
            "swinunetr_public",
            ["--set", "methods.swinunetr_public.path=net.pt"],
            ["not the file of swinunetr_public: its layout is plain", "checkpoint:net.pt"],
        ),
        (
            lambda: save_public(Path("net.pt")),
            "swinunetr_public",
            ["--set", "methods.swinunetr_public.path=net.pt", "--set", "finetune.crop=[48,48,48]"],
            ["finetune.crop 48x48x48: backbone swin_monai_legacy", "multiples of 32"],
        ),
    ],
)  # fmt: skip
def test_wrong_files_are_one_clear_line(bench, prepare, methods, more, told) -> None:
    if prepare is not None:
        prepare()
    before = sorted(path for path in Path().rglob("*") if path.is_file())
    outcome = bench("run", "--methods", methods, *PLAN, *more)
    assert outcome.code == 2 and outcome.out == "", outcome
    for part in told:
        assert part in outcome.line
    left = [path for path in sorted(Path().rglob("*")) if path.name != "digests.jsonl"]
    assert [path for path in left if path.is_file()] == before


def test_a_file_that_changes_under_way_is_not_taken(bench, monkeypatch) -> None:
    from medssl_bench.errors import CaseError
    from medssl_bench.imports import Source, plan_import
    from medssl_bench.stages.import_encoder import import_encoder

    save_tiny(Path("net.pt"))
    config = {"backbone": None, "corpus": "unknown", "licence": "unknown", "reference": "unknown"}
    source = Source(Path("net.pt"), config, "swin_tiny")
    store = Store("results", read_only=True, missing_ok=True)
    job, notes = plan_import("checkpoint:net", source, store)
    assert notes == [] and job.title == "import checkpoint:net"
    assert len(import_encoder(job).match.matched) == 79
    save_tiny(Path("net.pt"))
    with pytest.raises(CaseError, match="changed since the plan was made"):
        import_encoder(job)
