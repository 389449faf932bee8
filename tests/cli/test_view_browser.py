"""The viewer in a real browser, with WebGL 2 in software: alone, oriented, aligned, switched."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from medssl_bench.tasks import load_task
from medssl_bench.viewer.chosen import choose
from medssl_bench.viewer.page import render

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        shutil.which("chromium") is None, reason="chromium is not installed: apt install chromium"
    ),
]
sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)
pytest.importorskip("ipyniivue", reason="ipyniivue is not installed: pip install '.[view]'")

SOFTWARE = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
ORANGE = (230, 159, 0)  # the report's first colour


@pytest.fixture(scope="module")
def address(recorded: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("view") / "view.html"
    chosen = choose(recorded.folder, "t1", load_task(str(recorded.task)), {})
    path.write_text(render(chosen), "utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def page(playwright: Any, address: str) -> Iterator[Any]:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=SOFTWARE)
    page = browser.new_page(viewport={"width": 860, "height": 480})
    page.requested, page.complaints = [], []
    page.on("request", lambda request: page.requested.append(request.url))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(address)
    page.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)
    yield page
    browser.close()


def picture(page: Any) -> np.ndarray[Any, Any]:
    """Return the canvas as the user sees it, ``(row, column, 3)``."""
    from PIL import Image

    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    found = Image.open(io.BytesIO(page.locator("canvas").screenshot()))
    return np.asarray(found.convert("RGB")).astype(int)


def show(page: Any, **boxes: bool) -> None:
    for name, checked in boxes.items():
        page.locator(f"#{name}").set_checked(checked)


def middle(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    assert mask.sum() > 100
    return np.argwhere(mask).mean(0)


def test_it_stands_alone_and_all_volumes_are_there(page: Any, address: str) -> None:
    assert [url for url in page.requested if not url.startswith(("data:", "blob:"))] == [address]
    assert page.complaints == []
    assert page.evaluate("viewer.volumes.map(one => one.name)") == [
        "scan.nii.gz", "prediction.nii.gz", "reference.nii.gz", "errors.nii.gz",
    ]  # fmt: skip
    assert not page.locator("#fallback").is_visible()


def test_a_landmark_high_right_and_in_front_is_where_radiologists_look_for_it(page: Any) -> None:
    page.get_by_role("button", name="cube", exact=True).click()
    assert "reference: cube" in page.locator("#place").inner_text()
    show(page, prediction=False, errors=False, reference=True)
    page.locator("#style").select_option("filled")
    page.locator("#opacity").fill("1")
    page.evaluate("(viewer.setCrosshairWidth(0), viewer.setInterpolation(true))")
    # Each view's upper left: the patient's right or front, and front or head.
    for view in ("axial", "coronal", "sagittal"):
        page.get_by_role("button", name=view, exact=True).click()
        coloured = picture(page)
        landmark = np.abs(coloured - ORANGE).max(2) < 12
        rows, columns, _ = coloured.shape
        row, column = middle(landmark)
        assert row < rows / 2 and column < columns / 2, view
        show(page, reference=False)
        bright = picture(page).min(2) > 140  # 30 HU; the cube has 100 to 200, the rest 0 and less
        show(page, reference=True)
        (top, left), (bottom, right) = (
            edge(np.argwhere(landmark), axis=0) for edge in (np.min, np.max)
        )
        around = (slice(top - 9, bottom + 9), slice(left - 9, right + 9))
        overlap = (landmark & bright)[around].sum() / (landmark | bright)[around].sum()
        assert overlap > 0.95, view
        assert np.abs(middle(bright[around]) - middle(landmark[around])).max() < 1.5, view
    page.evaluate("(viewer.setCrosshairWidth(1), viewer.setInterpolation(false))")
    page.locator("#opacity").fill("0.55")
    page.locator("#style").select_option("outlined")
    show(page, prediction=True)
    page.get_by_role("button", name="all", exact=True).click()


@pytest.mark.parametrize("key", ["p", "r", "e", "b", "w", "[", "2", "5", "ArrowLeft", "PageUp"])
def test_keys_change_the_picture(page: Any, key: str) -> None:
    before = picture(page)
    page.keyboard.press(key)
    after = picture(page)
    assert (before != after).any()
    if key in "preb":
        page.keyboard.press(key)
        assert np.array_equal(picture(page), before)
    page.keyboard.press("1")


def test_the_place_said_is_the_voxel_s(page: Any, recorded: Any) -> None:
    import nibabel as nib

    label = nib.load(recorded.root / "labels" / "t1.nii.gz")
    found = nib.load(recorded.folder / "predictions" / "t1.nii.gz")
    names = {0: "none", 1: "cube", 2: "second <b>"}
    random = np.random.default_rng(0)
    for voxel in random.integers((4, 3, 6), (20, 14, 20), (12, 3)):
        place = nib.affines.apply_affine(label.affine, voxel)
        page.evaluate(
            "place => { viewer.scene.crosshairPos = viewer.mm2frac(place);"
            " viewer.createOnLocationChange(); }",
            place.tolist(),
        )
        text = page.locator("#place").inner_text()
        show(page, reference=True)
        assert f"reference: {names[int(label.dataobj[tuple(voxel)])]}" in text
        assert f"prediction: {names[int(found.dataobj[tuple(voxel)])]}" in text


def test_without_webgl_the_page_says_what_it_needs(playwright: Any, address: str) -> None:
    browser = playwright.chromium.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-3d-apis"]
    )
    page = browser.new_page()
    page.goto(address)
    assert "offers no WebGL 2" in page.locator("#fallback").inner_text()
    assert page.get_by_role("row", name="cube").first.is_visible()
    browser.close()


def test_without_javascript_the_numbers_are_read(playwright: Any, address: str) -> None:
    browser = playwright.chromium.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox"]
    )
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    assert "needs JavaScript" in page.locator("#fallback").inner_text()
    assert page.get_by_role("row", name="cube").first.is_visible()
    browser.close()
