import os
import shutil
import subprocess
from pathlib import Path

import numpy
import pytest
import torch

from medssl_bench import provenance
from medssl_bench.provenance import checkout_state, environment


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a package, a file outside it, and an ignored environment."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for folder in ("package", "env/site-packages/package"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / ".gitignore").write_text("env/\n*.log\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def dirty(checkout: Path) -> bool:
    state = checkout_state(checkout / "package", [checkout / "package"])
    assert state is not None and state.sha == git(checkout, "rev-parse", "HEAD")
    return state.dirty


def test_a_checkout_is_dirty_when_its_package_differs(checkout: Path) -> None:
    assert not dirty(checkout)
    (checkout / "notes.txt").write_text("outside the package")
    (checkout / "package" / "run.log").write_text("ignored")
    assert not dirty(checkout)
    (checkout / "package" / "method.py").write_text("new")
    assert dirty(checkout)
    (checkout / "package" / "method.py").unlink()
    (checkout / "package" / "__init__.py").write_text("changed")
    assert dirty(checkout)


def test_a_wheel_inside_a_checkout_is_not_that_checkout(checkout: Path, tmp_path: Path) -> None:
    installed = checkout / "env" / "site-packages" / "package"
    assert checkout_state(installed, [installed]) is None


def test_neither_the_working_folder_nor_the_environment_redirects(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert checkout_state(elsewhere, [elsewhere]) is None
    monkeypatch.chdir(checkout)
    assert checkout_state(elsewhere, [elsewhere]) is None
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(checkout))
    assert checkout_state(elsewhere, [elsewhere]) is None
    monkeypatch.setenv("GIT_DIR", str(elsewhere))
    monkeypatch.delenv("GIT_WORK_TREE")
    assert checkout_state(checkout / "package", [checkout / "package"]) is not None


def test_the_environment_is_that_of_this_process() -> None:
    found = environment("cpu", "fp32")
    assert found["libraries"]["torch"] == torch.__version__
    assert found["libraries"]["numpy"] == numpy.__version__
    assert "pytest" not in found["libraries"]
    machine = found["machine"]
    assert machine.threads == torch.get_num_threads()
    assert machine.instruction_set == torch.backends.cpu.get_cpu_capability()
    assert machine.precision == "fp32" and machine.device


def test_available_memory_is_below_what_the_machine_has() -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < provenance.available_memory() <= total
