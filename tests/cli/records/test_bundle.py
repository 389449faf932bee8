"""A bundle: the same bytes for the same records, read safely, and any changed byte is found."""

from __future__ import annotations

import json
import stat
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from medssl_bench.errors import BenchError
from medssl_bench.records.bundle import read_bundle, write_bundle
from medssl_bench.records.manifest import Manifest


def refused(bundle: Path, place: Path) -> str:
    """Return why a bundle is refused, and check that nothing was written beside its folder."""
    into = place / "deep" / "inside"
    into.mkdir(parents=True, exist_ok=True)
    with pytest.raises(BenchError) as caught:
        read_bundle(bundle, into)
    assert [path.name for path in (place / "deep").iterdir()] == ["inside"]
    (line,) = str(caught.value).splitlines()
    return line


def rewrite(bundle: Path, change: dict[str, bytes | None]) -> Path:
    """Write the bundle again with members changed, added or (None) taken away."""
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members = {name: content for name, content in {**members, **change}.items() if content}
    changed = bundle.with_name("changed.zip")
    with zipfile.ZipFile(changed, "w") as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, members[name])
    return changed


def test_the_same_records_give_the_same_bytes(bench, results, bundle, tmp_path):
    again = tmp_path / "again.zip"
    assert bench("submit", "--results", results, "--out", again, "--plain").code == 0
    assert again.read_bytes() == bundle.read_bytes()
    assert rewrite(bundle, {}).read_bytes() == bundle.read_bytes()


def test_what_is_in_it(bundle):
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("manifest.json"))
    assert {Path(name).name for name in names} >= {"record.json", "cases.parquet", "SHA256SUMS"}
    assert not [name for name in names if name.endswith((".png", ".safetensors", ".nii.gz"))]
    assert [name.split("/")[0] for name in names].count("curves") == 1
    assert {*manifest["files"]} == {*names} - {"manifest.json"}
    assert len(manifest["records"]) == 4


def test_pictures_only_where_asked_for(bench, results, tmp_path):
    out = tmp_path / "p.zip"
    assert bench("submit", "--results", results, "--out", out, "--pictures", "--plain").code == 0
    names = zipfile.ZipFile(out).namelist()
    assert len([name for name in names if name.endswith("slices/t0.png")]) == 4


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../evil.json", "leads outside"),
        ("records/../../evil.json", "leads outside"),
        ("/etc/cron.d/evil", "leads outside"),
        ("\\\\server\\evil", "leads outside"),
        ("C:/evil.json", "leads outside"),
        ("records/a/b/run.py", "is no part of a bundle"),
        ("records/a/.b/record.json", "is no part of a bundle"),
        ("records/a/b/slices/x/y.png", "is no part of a bundle"),
        ("records/a/b/slices/\x1b[2J.png", "is no part of a bundle"),
        ("records/a/b/slices/", "is no part of a bundle"),
        ("a" * 5000, "is no part of a bundle"),
        ("Manifest.json", "is no part of a bundle"),
        ("records/a/b/record.json", "is not in the manifest"),
    ],
)
def test_a_member_elsewhere_is_refused(bundle, tmp_path, name, why):
    line = refused(rewrite(bundle, {name: b"{}"}), tmp_path)
    assert why in line and "\x1b" not in line


def test_a_link_is_refused(bundle, tmp_path):
    link = zipfile.ZipInfo("store.json")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "is a link" in refused(tmp_path / "link.zip", tmp_path)


def test_a_name_twice_is_refused(bundle, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(bundle, "a") as archive:
            archive.writestr("store.json", b'{"format": 1}')
    assert "is in it twice" in refused(bundle, tmp_path)


def test_a_bomb_is_refused_before_it_is_read(tmp_path):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b"\0" * 10**8)
    assert bomb.stat().st_size < 10**6
    assert "compressed" in refused(bomb, tmp_path)


def test_a_declared_size_that_is_not_there_is_refused(bundle, tmp_path):
    content = bytearray(bundle.read_bytes())
    start = content.index(b"PK\x01\x02")  # the table of contents: sizes at 20 and 24
    for place in (20, 24):
        content[start + place : start + place + 4] = (2**31 - 7).to_bytes(4, "little")
    bundle.write_bytes(content)
    assert "declares" in refused(bundle, tmp_path)


def test_a_tampered_file_is_named(bundle, tmp_path):
    with zipfile.ZipFile(bundle) as archive:
        name = next(name for name in archive.namelist() if name.endswith("record.json"))
        text = archive.read(name).replace(b'"dice_mean": 0', b'"dice_mean": 1')
    line = refused(rewrite(bundle, {name: text}), tmp_path)
    assert f"{name!r} is not as it was written" in line


def test_a_missing_file_is_named(bundle, tmp_path):
    assert "'store.json' is missing" in refused(rewrite(bundle, {"store.json": None}), tmp_path)


def test_a_newer_format_says_what_to_do(bundle, tmp_path):
    with zipfile.ZipFile(bundle) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    newer = rewrite(bundle, {"manifest.json": json.dumps({**manifest, "format": 2}).encode()})
    assert "newer version (format 2, this one reads 1); update" in refused(newer, tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06" + b"\0" * 18, b"x" * 100])
def test_what_is_no_bundle_is_refused(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    assert str(tmp_path / "x.zip") in refused(tmp_path / "x.zip", tmp_path)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """Return a bundle of two small files, so that every byte can be changed."""
    from medssl_bench.digest import digest
    from medssl_bench.records.manifest import File

    file = File(bytes=2, sha256="44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
    manifest = Manifest(made_by="a test", records=(), files={"store.json": file})
    path = tmp_path_factory.mktemp("small") / "small.zip"
    write_bundle(path, {"store.json": b"{}", "manifest.json": manifest.to_json()})
    assert digest({}) == file.sha256
    return path


@pytest.mark.parametrize("bit", [0x01, 0xFF])
def test_every_flipped_byte_is_found(small, tmp_path, bit):
    """Headers, contents, table of contents, end: no byte may differ unnoticed."""
    content = small.read_bytes()
    changed, into = tmp_path / "changed.zip", tmp_path / "into"
    into.mkdir()
    read_bundle(small, into)
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= bit
        changed.write_bytes(flipped)
        with pytest.raises(BenchError, match="changed.zip: "):
            read_bundle(changed, into)


def test_flipped_bytes_of_a_whole_bundle_are_found(bench, bundle, tmp_path):
    content = bundle.read_bytes()
    changed, into = tmp_path / "changed.zip", tmp_path / "into"
    into.mkdir()
    for place in np.random.default_rng(0).integers(len(content), size=60):
        flipped = bytearray(content)
        flipped[place] ^= 0x10
        changed.write_bytes(flipped)
        with pytest.raises(BenchError):
            read_bundle(changed, into)
    assert bench("records", "validate", changed, "--plain").code == 1


@pytest.mark.parametrize("cut", [1, 30, 5000])
def test_a_truncated_or_longer_bundle_is_refused(bundle, tmp_path, cut):
    content = bundle.read_bytes()
    for changed in (content[:-cut], content + b"\0" * cut, b"\0" * cut + content):
        bundle.write_bytes(changed)
        refused(bundle, tmp_path)
