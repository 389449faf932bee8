"""Run as a script it is the other process: ``hold FOLDER STALE_AFTER`` or ``race FOLDER``."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medssl_bench.claims import Claim, ClaimLost
from medssl_bench.errors import BenchError

NAME = "smit_shots-5"
LONG = 3600.0
"""Seconds; an owner never counts as silent within a test."""


def acquire(folder: Path, stale_after: float = LONG) -> Claim | None:
    return Claim.acquire(folder, NAME, stale_after=stale_after)


def must_acquire(folder: Path, stale_after: float = LONG) -> Claim:
    claim = acquire(folder, stale_after)
    assert claim is not None
    return claim


@contextmanager
def other_process(*words: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, __file__, *map(str, words)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], words: str = "go") -> None:
    assert process.stdin is not None
    process.stdin.write(words + "\n")
    process.stdin.flush()


def claim_file(claim: Claim) -> Path:
    return claim.checkpoint_folder.with_suffix(".claim")


def fall_silent(claim: Claim) -> None:
    """Make the claim look like one of another machine that was last heard of an hour ago."""
    note = json.loads(claim_file(claim).read_text())
    claim_file(claim).write_text(json.dumps({**note, "machine": "elsewhere"}))
    os.utime(claim_file(claim), (time.time() - 3600, time.time() - 3600))


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    claim = must_acquire(tmp_path)
    assert claim.still_mine() and claim.generation == 1 and claim.checkpoint_folder.is_dir()
    assert acquire(tmp_path) is None
    other = Claim.acquire(tmp_path, "another", stale_after=LONG)
    assert other is not None and other.still_mine()
    claim.release(done=True)
    assert must_acquire(tmp_path).generation == 1


def test_done_work_leaves_nothing(tmp_path: Path) -> None:
    claim = must_acquire(tmp_path)
    (claim.checkpoint_folder / "weights").write_text("x")
    half_removed = tmp_path / ".earlier.0123"
    half_removed.mkdir()
    claim.release(done=True)
    claim.release(done=True)
    assert list(tmp_path.iterdir()) == []


def test_work_given_up_is_taken_on_at_once_with_its_checkpoints(tmp_path: Path) -> None:
    with must_acquire(tmp_path) as claim:
        (claim.checkpoint_folder / "checkpoint").write_text("step 7")
        (claim.checkpoint_folder / ".half-written").write_text("x")
    second = must_acquire(tmp_path)
    assert second.generation == 2
    assert [path.name for path in second.checkpoint_folder.iterdir()] == ["checkpoint"]
    assert (second.checkpoint_folder / "checkpoint").read_text() == "step 7"
    assert not claim.checkpoint_folder.exists()
    with pytest.raises(ClaimLost):
        claim.check()


def test_an_error_gives_the_work_up(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), must_acquire(tmp_path):
        raise KeyboardInterrupt
    assert must_acquire(tmp_path).generation == 2


@pytest.mark.parametrize("reap", [True, False])
def test_a_killed_owner_on_this_machine_is_replaced_at_once(tmp_path: Path, reap: bool) -> None:
    with other_process("hold", tmp_path, LONG) as owner:
        assert answer(owner) == "1"
        assert acquire(tmp_path) is None
        owner.send_signal(signal.SIGKILL)
        # Without a parent that waits for it, the dead process stays in the table as a zombie.
        if reap:
            owner.wait()
        else:
            os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)
        claim = must_acquire(tmp_path)
    assert claim.generation == 2
    assert (claim.checkpoint_folder / "checkpoint").read_text() == "of generation 1"


def test_a_stalled_owner_is_replaced_and_stops_when_it_wakes(tmp_path: Path) -> None:
    with other_process("hold", tmp_path, 0.2) as owner:
        assert answer(owner) == "1"
        owner.send_signal(signal.SIGSTOP)
        claim = None
        while claim is None:
            time.sleep(0.05)
            claim = acquire(tmp_path, 0.2)
        assert claim.generation == 2
        owner.send_signal(signal.SIGCONT)
        tell(owner)
        assert answer(owner) == "ClaimLost, folder gone"
        assert owner.wait() == 0
    assert claim.still_mine()
    assert (claim.checkpoint_folder / "checkpoint").read_text() == "of generation 1"


def test_heartbeats_keep_a_claim_and_silence_loses_it(tmp_path: Path) -> None:
    claim = must_acquire(tmp_path, 0.4)
    fall_silent(claim)
    until = time.monotonic() + 60
    while claim_file(claim).stat().st_mtime < time.time() - 60 and time.monotonic() < until:
        time.sleep(0.02)
    assert acquire(tmp_path, 60.0) is None
    claim._stop.set()
    claim._thread.join()
    fall_silent(claim)
    assert must_acquire(tmp_path, 60.0).generation == 2


def test_an_owner_elsewhere_is_waited_for_as_long_as_it_asks(tmp_path: Path) -> None:
    claim = must_acquire(tmp_path, 2 * 3600.0)
    fall_silent(claim)
    assert acquire(tmp_path, 1.0) is None


def test_processes_of_other_users_and_machines_are_never_thought_dead(tmp_path: Path) -> None:
    claim = must_acquire(tmp_path)
    note = json.loads(claim_file(claim).read_text())
    for changes in ({"user": note["user"] + 1}, {"machine": "elsewhere"}):
        claim_file(claim).write_text(json.dumps({**note, "pid": 2**22 + 1, **changes}))
        assert acquire(tmp_path) is None
    claim_file(claim).write_text(json.dumps({**note, "pid": 2**22 + 1}))
    assert must_acquire(tmp_path).generation == 2


def test_a_number_that_another_process_has_now_is_not_the_owner(tmp_path: Path) -> None:
    claim = must_acquire(tmp_path)
    note = json.loads(claim_file(claim).read_text())
    claim_file(claim).write_text(json.dumps({**note, "started": "1"}))
    assert must_acquire(tmp_path).generation == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_claim_that_is_being_written_is_respected(tmp_path: Path, text: str) -> None:
    claim = must_acquire(tmp_path)
    claim_file(claim).write_text(text)
    assert acquire(tmp_path) is None


def test_a_lost_claim_cannot_remove_the_work_of_the_next_owner(tmp_path: Path) -> None:
    first = must_acquire(tmp_path, 1800.0)
    fall_silent(first)
    second = must_acquire(tmp_path, 1.0)
    first.release(done=True)
    second.check()
    assert second.checkpoint_folder.is_dir()


def test_checkpoints_survive_owners_killed_while_they_take_over(tmp_path: Path) -> None:
    with must_acquire(tmp_path) as first:
        (first.checkpoint_folder / "checkpoint").write_text("step 7")
    # Generation 2 died after its claim was made and before anything was inherited.
    dead = json.loads(claim_file(first).read_text()) | {"pid": 2**22 + 1}
    (first.folder / "generation-000002.claim").write_text(json.dumps(dead))
    (first.folder / ".generation-000002.half").mkdir()
    third = must_acquire(tmp_path)
    assert third.generation == 3
    assert (third.checkpoint_folder / "checkpoint").read_text() == "step 7"
    assert not first.checkpoint_folder.exists()


def test_of_many_threads_one_wins(tmp_path: Path) -> None:
    together = threading.Barrier(8)
    won: list[Claim] = []

    def race() -> None:
        together.wait()
        claim = acquire(tmp_path)
        if claim is not None:
            won.append(claim)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_of_two_processes_one_wins_each_time(tmp_path: Path) -> None:
    with other_process("race", tmp_path) as one, other_process("race", tmp_path) as two:
        for racer in (one, two):
            assert answer(racer) == "ready"
        for racer in (one, two):
            tell(racer)
        won = [json.loads(answer(racer)) for racer in (one, two)]
        for racer in (one, two):
            tell(racer, "end")
    assert [sum(pair) for pair in zip(*won, strict=True)] == [1] * 50


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="cannot be claimed"):
        acquire(tmp_path / "file")


def hold(folder: Path, stale_after: float) -> None:
    """Claim, say the generation, wait for a word, and say whether the claim is still there."""
    claim = must_acquire(folder, stale_after)
    (claim.checkpoint_folder / "checkpoint").write_text(f"of generation {claim.generation}")
    print(claim.generation, flush=True)
    sys.stdin.readline()
    try:
        claim.check()
    except ClaimLost:
        gone = not claim.checkpoint_folder.exists()
        print(f"ClaimLost, folder {'gone' if gone else 'there'}", flush=True)


def race(folder: Path) -> None:
    """Claim fifty things as fast as it goes and say which were won; hold them to the end."""
    print("ready", flush=True)
    sys.stdin.readline()
    claims = [Claim.acquire(folder, f"work-{index}", stale_after=LONG) for index in range(50)]
    print(json.dumps([claim is not None for claim in claims]), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    if sys.argv[1] == "hold":
        hold(Path(sys.argv[2]), float(sys.argv[3]))
    else:
        race(Path(sys.argv[2]))
