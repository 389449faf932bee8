"""Why work failed: classes, the file that keeps them, and what the commands say."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import pytest
import torch

from medssl_bench.durable import publish_folder
from medssl_bench.errors import (
    BenchError,
    CaseError,
    DamagedError,
    DataError,
    DivergedError,
    FaultyDataError,
    MemoryShortageError,
)
from medssl_bench.failures import (
    ADVICE,
    classify,
    classify_state,
    failure_path,
    forget_failure,
    note_failure,
    read_failure,
    read_failures,
    write_failure,
)
from medssl_bench.history import History


def chained(inner: BaseException, outer: BaseException, *, hidden: bool = False) -> BaseException:
    """Raise one error from another, or while handling it with ``from None``."""
    try:
        try:
            raise inner
        except type(inner) as error:
            if hidden:
                raise outer from None
            raise outer from error
    except type(outer) as error:
        return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "oom"),
        (RuntimeError("CUDA error: out of memory"), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "oom"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "oom"),
        (MemoryError(), "oom"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "oom"),
        (MemoryShortageError("3 training cases need 90 GiB"), "oom"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk"),
        (DamagedError("encoder.safetensors is not as it was written"), "disk"),
        (OSError(errno.ESTALE, "Stale file handle"), "node"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "node"),
        (RuntimeError("No CUDA GPUs: no CUDA-capable device is detected"), "node"),
        (DataError("a.nii.gz: truncated"), "data"),
        (FaultyDataError("amos_ct: a.nii.gz: truncated"), "data"),
        (DivergedError("loss became nan at or just before step 3"), "nan"),
        (CaseError("nnunetv2 failed"), "bug"),
        (BenchError("no such pretraining"), "bug"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "bug"),
        (ValueError("out of memory is only a word here"), "bug"),
        (ZeroDivisionError("by chance"), "bug"),
        (chained(OSError(errno.ENOSPC, ""), CaseError("cannot be written")), "disk"),
        (chained(OSError(errno.ENOSPC, ""), CaseError("cannot be written"), hidden=True), "disk"),
        (chained(OSError(errno.EIO, ""), DataError("a.nii.gz: cannot be read")), "node"),
        (chained(ValueError("bad header"), DataError("a.nii.gz: cannot be read")), "data"),
        (chained(MemoryError(), RuntimeError("worker failed")), "oom"),
    ],
)
def test_a_class_follows_from_kind_cause_and_words(error, kind):
    assert classify(error) == kind


def test_a_loss_that_is_not_finite_is_of_class_nan():
    with pytest.raises(DivergedError) as caught:
        History(1).add(0, {"loss": torch.tensor(float("nan"))})
    assert classify(caught.value) == "nan"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_record_on_a_full_disk_is_of_class_disk(tmp_path):
    def fill(folder: Path) -> None:
        with open("/dev/full", "wb", buffering=0) as stream:  # noqa: PTH123
            stream.write(b"x")

    with pytest.raises(CaseError) as caught:
        publish_folder(tmp_path / "records" / "a", fill)
    assert classify(caught.value) == "disk"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("TIMEOUT", "time"), ("DEADLINE", "time"), ("NODE_FAIL", "node"), ("BOOT_FAIL", "node"),
        ("OUT_OF_MEMORY", "oom"), ("OUT_OF_ME+", None), ("FAILED", "bug"), ("COMPLETED", None),
        ("CANCELLED by 1000", None), ("PREEMPTED", None), ("RUNNING", None), ("", None),
    ],
)  # fmt: skip
def test_a_class_follows_from_a_state_of_slurm(state, kind):
    assert classify_state(state) == kind


def test_a_note_is_written_and_read(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4714")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    unit = "smit amos_ct 5 shots draw 0 seed 0"
    try:
        raise RuntimeError("CUDA out of memory.\nMore words of torch")
    except RuntimeError as error:
        note = note_failure(tmp_path, unit, error)
    lines = note.path.read_text().splitlines()
    assert lines[:3] == [unit, "class: oom", f"host: {os.uname().nodename}"]
    assert lines[3] == "job: 4711_3"
    assert re.fullmatch(r"time: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", lines[4])
    assert lines[5:9] == ["", "RuntimeError: CUDA out of memory.", "",
                          "Traceback (most recent call last):"]  # fmt: skip
    assert lines[-1] == "More words of torch"
    assert read_failures(tmp_path) == [note] and read_failure(note.path) == note
    assert list(note.path.parent.iterdir()) == [note.path]

    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    later = note_failure(tmp_path, unit, DataError("a.nii.gz: truncated"))
    assert (later.job, later.trace, later.path) == ("4714", "", note.path)
    assert read_failures(tmp_path) == [later]
    forget_failure(tmp_path, unit)
    assert read_failures(tmp_path) == [] and read_failure(note.path) is None
    forget_failure(tmp_path, unit)


def test_a_title_whose_first_words_look_like_a_head(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    note = write_failure(tmp_path, "class: data", "time", "host: of nobody\nsecond line")
    assert (note.reason, note.job) == ("host: of nobody", None)
    assert read_failures(tmp_path) == [note]


def test_where_nothing_can_be_written_the_note_is_returned_all_the_same(tmp_path):
    (tmp_path / "failures").write_text("a file is in the way")
    note = note_failure(tmp_path, "unit", OSError(errno.ENOSPC, "No space left on device"))
    assert (note.kind, note.reason) == ("disk", "OSError: [Errno 28] No space left on device")
    assert failure_path(tmp_path, "unit") == note.path and not note.path.exists()


def test_every_advice_is_one_short_line():
    assert all(len(text) <= 90 and "\n" not in text for text in ADVICE.values())


def test_status_says_class_and_advice(bench, tmp_path):
    Path("results").mkdir()
    Path("results/store.json").write_text('{"format": 1}')
    write_failure(Path("results"), "a unit", "oom", "CUDA out of memory")
    write_failure(Path("results"), "b unit", "oom", "CUDA out of memory")
    out = bench("status", "--results", "results").out
    assert "failed      a unit: CUDA out of memory [oom] (results/failures/a_unit.txt)" in out
    assert f"oom         2 failed: {ADVICE['oom']}" in out
    (first, _) = json.loads(bench("status", "--results", "results", "--json").out)["failed"]
    assert (first["class"], first["advice"]) == ("oom", ADVICE["oom"])
    assert first["host"] == os.uname().nodename
