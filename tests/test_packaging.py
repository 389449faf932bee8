"""The package is the tree, from a checkout and from a wheel in another folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FOLDERS: dict[str, str] = {
    folder: package for package, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()
}


def files() -> list[Path]:
    """Every file that git tracks or would track, relative to the root."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed: it tells which files belong to the tree")
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others",
         "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    found = {Path(name) for name in listed.stdout.split("\0") if name}
    return sorted(path for path in found if (ROOT / path).is_file())


def in_wheel(path: Path) -> str:
    """Where a file of the tree lies in a wheel."""
    return "/".join((*FOLDERS[path.parts[0]].split("."), *path.parts[1:]))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for path in files():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, source / path)
    made = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "--no-index", "-q", "-w", "made"],
        cwd=source, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    (found,) = (source / "made").glob("medssl_bench-*.whl")
    return found


def test_packages_are_the_tree():
    packages = {
        in_wheel(path.parent).replace("/", ".")
        for path in files()
        if path.name == "__init__.py" and path.parts[0] in FOLDERS
    }
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(packages)


def test_wheel_holds_the_package_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {in_wheel(path) for path in files() if path.parts[0] in FOLDERS}
    for needed in (
        "profiles/demo.yaml",
        "py.typed",
        "analysis/leaderboard/templates/page.html",
        "analysis/leaderboard/static/main.js",
        "viewer/page.html",
        "slurm/sites/one_gpu.yaml",
        "results/store.json",
        "results/reported/reported_results.csv",
    ):
        assert f"medssl_bench/{needed}" in names


def test_wheel_carries_the_licence(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith("/LICENSE")]
    assert archive.read(name) == (ROOT / "LICENSE").read_bytes()
    assert b"Version 2.0, January 2004" in archive.read(name)


def test_wheel_works_in_another_folder(wheel, tmp_path):
    target, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    # A folder of one's own with files of our folders' names: nothing of it may be imported.
    for name in ("analysis.py", "tasks.py", "methods.py"):
        elsewhere.mkdir(exist_ok=True)
        (elsewhere / name).write_text("raise SystemExit('imported by mistake')")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "-q",
         "--disable-pip-version-check", "--target", str(target), str(wheel)],
        check=True, capture_output=True,
    )  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(target)}

    def answer(*command: str) -> str:
        done = subprocess.run(
            command, cwd=elsewhere, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    code = "import medssl_bench.methods as m, medssl_bench as b; print(b.__file__, m.__file__)"
    assert all(
        Path(file).is_relative_to(target) for file in answer(sys.executable, "-c", code).split()
    )
    bench = str(target / "bin" / "bench")
    profiles = json.loads(answer(bench, "list", "profiles", "--json"))
    assert [profile["name"] for profile in profiles] == ["demo", "quick", "paper", "brainmvp"]
    methods = json.loads(answer(bench, "list", "methods", "--json"))
    assert {"scratch", "simmim", "smit"} <= {method["name"] for method in methods}


def test_one_version_everywhere():
    from importlib.metadata import version

    stated = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert PROJECT["project"]["version"] == stated[1] == version("medssl-bench")


def test_constraints_pin_what_is_needed():
    pins = (ROOT / "constraints.txt").read_text().split()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    pinned = {plain(pin) for pin in pins}
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    assert {plain(name) for name in wanted} <= pinned


def plain(requirement: str) -> str:
    """Name of a requirement, normalised."""
    return re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9_.-]+", requirement)[0]).lower()


def test_no_path_of_a_machine_and_no_package_index():
    here = [str(ROOT), *([str(Path.home())] if len(Path.home().parts) > 1 else [])]
    paths = "|".join(re.escape(f"{path}/") for path in here)
    index = r"index-url|find-links|trusted-host|pythonhosted|/simple/"
    banned = re.compile(rf"(?<![\w>}}]){paths}|/home/\w|/Users/\w|{index}")
    found = [
        f"{path}: {match[0]}"
        for path in files()
        if ROOT / path != Path(__file__)
        for match in banned.finditer((ROOT / path).read_bytes().decode("utf-8", "ignore"))
    ]
    assert not found
