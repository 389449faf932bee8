"""``bench doctor``: what it sees, and that only what is broken fails it."""

from __future__ import annotations

import importlib.metadata
import json
import socket
from pathlib import Path

import pytest
import torch

from medssl_bench.training import resolve_device, resolve_precision


@pytest.fixture
def doctor(bench, monkeypatch):
    """Run ``bench doctor --json`` without a network; return its exit code and checks by name."""

    def refuse(*_: object) -> None:
        raise AssertionError("the doctor used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    def call(*words: str | Path):
        outcome = bench("doctor", *words, "--json")
        assert outcome.err == ""
        document = json.loads(outcome.out)
        assert document["ok"] is (outcome.code == 0)
        return outcome.code, {check["name"]: check for check in document["checks"]}

    return call


def test_a_sound_installation_can_run(doctor):
    code, checks = doctor()
    assert code == 0
    assert checks["torch"]["value"] == torch.__version__
    assert checks["mlflow"]["value"] == importlib.metadata.version("mlflow")
    assert checks["threads"]["facts"]["threads"] == torch.get_num_threads()
    device = resolve_device("auto")
    assert checks["auto"]["facts"] == {
        "device": device,
        "precision": resolve_precision("auto", device),
    }
    assert checks["results"]["facts"]["free_bytes"] > 0
    assert checks["bench.yaml"]["level"] == "note"
    assert checks["phantom_ct"]["level"] == "ok" and checks["amos_ct"]["level"] == "note"
    assert "zenodo" in checks["amos_ct"]["advice"]
    assert list(Path.cwd().iterdir()) == []


def test_what_is_broken_is_told_and_fails(doctor):
    Path("file").write_text("")
    code, checks = doctor("--results", "file/results")
    assert code == 1
    assert checks["results"]["level"] == checks["cache"]["level"] == "broken"
    assert checks["torch"]["level"] == "ok"

    Path("newer").mkdir()
    Path("newer/store.json").write_text('{"format": 999}')
    code, checks = doctor("--results", "newer")
    assert code == 1 and "newer version" in checks["results"]["value"]

    Path("bench.yaml").write_text("profil: demo")
    code, checks = doctor()
    assert code == 1 and "'profile'" in checks["bench.yaml"]["value"]

    Path("bench.yaml").write_text("corpus: folder:gone\ndata: {amos_ct: /no/where}")
    code, checks = doctor()
    assert code == 1
    assert "gone is no folder" in checks["corpus"]["value"]
    assert "/no/where" in checks["data of amos_ct"]["value"]


def test_libraries_that_are_missing_or_too_old(doctor, monkeypatch):
    real = importlib.metadata.version
    versions = {"blosc2": None, "monai": "1.0.0", "nnunetv2": None}

    def version(name: str) -> str:
        if name in versions:
            if versions[name] is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return str(versions[name])
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    code, checks = doctor()
    assert code == 1
    assert (checks["blosc2"]["level"], checks["blosc2"]["value"]) == ("broken", "not installed")
    assert "pip install 'blosc2" in checks["blosc2"]["advice"]
    assert checks["monai"]["level"] == "broken" and "1.0.0" in checks["monai"]["value"]
    assert checks["nnunetv2"]["level"] == "note"
    assert "pip install 'medssl-bench[nnunet]'" in checks["nnunetv2"]["advice"]


def test_for_people_it_ends_with_a_verdict(bench):
    outcome = bench("doctor")
    assert outcome.code == 0 and outcome.out.strip().endswith("the benchmark can run here")
    Path("bench.yaml").write_text("draws: many")
    outcome = bench("doctor")
    assert outcome.code == 1 and "1 broken" in outcome.out.splitlines()[-1]
