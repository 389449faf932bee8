"""Run as a script it is the other process: it writes checkpoints until it is killed."""

import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medssl_bench import checkpoint
from medssl_bench.claims import ClaimLost
from medssl_bench.errors import CaseError


def state_of(step: int) -> dict[str, Any]:
    """Every tensor is filled with the step, so that a mixture would show."""
    return {"step": step, "weights": [torch.full((50_000,), float(step)) for _ in range(4)]}


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir())


def damage(path: Path, position: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(position * (len(content) - 1))] ^= 1
    path.write_bytes(content)


def test_training_goes_on_from_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    def build() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
        return model, torch.optim.AdamW(model.parameters(), lr=0.01)

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            torch.manual_seed(step)
            loss = model(torch.randn(6, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    undisturbed, optimizer = build()
    train(undisturbed, optimizer, range(10))

    model, optimizer = build()
    train(model, optimizer, range(4))
    history = [{"step": 4, "loss": np.float64(0.1), "count": np.int64(3), "dice": None}]
    checkpoint.save(
        tmp_path,
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": 4,
            "history": history,
            "rng": torch.get_rng_state(),
            "seconds": 1.5,
        },
    )
    resumed, optimizer = build()
    saved = checkpoint.load(tmp_path)
    assert saved is not None
    resumed.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    train(resumed, optimizer, range(saved["step"], 10))
    for name, value in undisturbed.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value)
    assert saved["history"] == [{"step": 4, "loss": 0.1, "count": 3, "dice": None}]
    assert type(saved["history"][0]["loss"]) is float
    assert saved["model"]._metadata == model.state_dict()._metadata  # type: ignore[attr-defined]


def test_nothing_written_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    assert checkpoint.load(tmp_path / "absent") is None


def test_the_last_two_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    for step in range(1, 13):
        checkpoint.save(tmp_path, state_of(step))
    saved = checkpoint.load(tmp_path)
    assert saved is not None and saved["step"] == 12
    assert [path.name[:17] for path in files(tmp_path)] == [
        "checkpoint-000011",
        "checkpoint-000012",
    ]


@pytest.mark.parametrize("how", ["truncated", "empty", "flipped"])
def test_a_damaged_newest_falls_back_loudly(tmp_path: Path, how: str) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, state_of(step))
    newest = files(tmp_path)[-1]
    if how == "flipped":
        damage(newest)
    else:
        newest.write_bytes(newest.read_bytes()[: 1000 if how == "truncated" else 0])
    with pytest.warns(UserWarning, match=f"{newest.name}: damaged checkpoint"):
        saved = checkpoint.load(tmp_path)
    assert saved is not None and saved["step"] == 1
    # The next one is newer than the damaged one.
    checkpoint.save(tmp_path, state_of(3))
    saved = checkpoint.load(tmp_path)
    assert saved is not None and saved["step"] == 3


@pytest.mark.filterwarnings("ignore:.*damaged checkpoint")
def test_if_all_are_damaged_nothing_starts_over_by_itself(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, state_of(step))
    for path in files(tmp_path):
        damage(path)
    with pytest.raises(CaseError, match="every checkpoint is damaged; remove this folder"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"rng": {"numpy": np.zeros(3)}}, r"state\['rng'\]\['numpy'\] is a ndarray"),
        ({"history": [{"loss": Path("x")}]}, r"state\['history'\]\[0\]\['loss'\] is a PosixPath"),
        ({Path("x"): 1}, "a key of state is a PosixPath"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(
    tmp_path: Path, state: dict[Any, Any], where: str
) -> None:
    with pytest.raises(TypeError, match=where):
        checkpoint.save(tmp_path, state)
    assert files(tmp_path) == []


def test_everything_that_may_be_saved_can_be_loaded(tmp_path: Path) -> None:
    state = {
        "numbers": [1, -2.5, True, None, float("inf")],
        "text": "ä",
        "bytes": b"\x00\xff",
        "pair": (1, ("a", 2.0)),
        3: {"inner": [[]]},
        ("a", 1): "tuple key",
        "numpy": np.float32(0.5),
    }
    checkpoint.save(tmp_path, state)
    assert checkpoint.load(tmp_path) == state
    parameter = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    strided = torch.randn(2, 3, 4, 4, 4).contiguous(memory_format=torch.channels_last_3d)
    checkpoint.save(tmp_path, {"parameter": parameter, "strided": strided})
    saved = checkpoint.load(tmp_path)
    assert saved is not None and torch.equal(saved["parameter"], parameter)
    assert saved["strided"].stride() == strided.stride()


def test_a_folder_that_was_taken_away_means_the_claim_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "generation"
    folder.mkdir()
    checkpoint.save(folder, state_of(1))
    shutil.rmtree(folder)
    with pytest.raises(ClaimLost, match="generation"):
        checkpoint.save(folder, state_of(2))
    assert not folder.exists()


def test_a_full_disk_is_one_clear_line_and_keeps_what_there_is(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, state_of(1))
    before = files(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(CaseError, match="no checkpoint can be written: File too large"):
            checkpoint.save(tmp_path, state_of(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == before


def test_a_kill_at_any_moment_leaves_a_sound_newest_checkpoint(tmp_path: Path) -> None:
    chance = random.Random(0)
    last = 0
    for _ in range(2):
        command = [sys.executable, __file__, str(tmp_path), str(last + 1)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        reported = int(writer.stdout.readline())
        time.sleep(0.1 + 0.1 * chance.random())
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        reported = max([reported, *map(int, rest.split()[:-1])])
        saved = checkpoint.load(tmp_path)
        assert saved is not None and saved["step"] >= reported > last
        assert all(bool((tensor == saved["step"]).all()) for tensor in saved["weights"])
        last = saved["step"]
    checkpoint.save(tmp_path, state_of(last + 1))
    assert len(files(tmp_path)) == 2


if __name__ == "__main__":
    number = int(sys.argv[2])
    while True:
        checkpoint.save(Path(sys.argv[1]), state_of(number))
        print(number, flush=True)
        number += 1
