"""The map: one file that loads nothing, cannot be broken by the names in it, and draws every point."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convscope.errors import OutputError, ParameterError
from convscope.report.map_page import MapData, map_page

EVIL = "</script><script>alert(1)</script>"
ODD = (EVIL, '" onload="alert(1)', "猫 ☕ \u2028", "<!--<script>", "a&amp;b\\", "'", "\udcff.jpg", "")


class Page(HTMLParser):
    """Tags with their attributes, and the text of each `<script>` by its id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.text: list[str] = []
        self._id: str | None = None
        self.raw = path.read_text(encoding="utf-8")
        self.feed(self.raw)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._id = dict(attrs).get("id") or "main"
            self.scripts[self._id] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._id = None

    def handle_data(self, data: str) -> None:
        if self._id is None:
            self.text.append(data)
        else:
            self.scripts[self._id] += data

    def array(self, name: str, kind: str) -> np.ndarray:
        return np.frombuffer(base64.b64decode(self.scripts[f"data-{name}"]), dtype=kind)


def tile(color: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(file, "JPEG")
    return file.getvalue()


def some_points(n: int = 8, **changes: Any) -> MapData:
    generator = np.random.default_rng(0)
    coordinates = generator.normal(size=(n, 2)).astype(np.float32)
    neighbors = np.stack([(np.arange(n) + k) % n for k in range(1, 4)], axis=1)
    data = MapData(
        coordinates=coordinates,
        names=tuple(f"photos/{i}.jpg" for i in range(n)),
        labels=tuple("cat" if i % 2 else "dog" for i in range(n)),
        predicted=tuple("cat" if i % 4 else "dog" for i in range(n)),
        probability=np.linspace(0, 1, n),
        clusters=np.arange(n) % 3 - 1,
        thumbnails=[tile((i % 256, 90, 160)) for i in range(n)],
        neighbors=neighbors,
        scores=np.tile(np.array([0.9, 0.8, 0.7]), (n, 1)),
        facts={"Trustworthiness": "0.93", "Perplexity": "30", "Weights": "abc"},
    )
    return dataclasses.replace(data, **changes)


def test_what_the_file_holds(tmp_path: Path) -> None:
    points = some_points(labels=(None, "cat", "dog", "cat", None, "cat", "dog", "cat"))
    page = Page(map_page(points, tmp_path / "new" / "map.html"))
    texts = json.loads(page.scripts["data-texts"])
    assert texts == {"names": list(points.names), "words": ["cat", "dog"]}
    np.testing.assert_array_equal(page.array("coordinates", "<f4").reshape(-1, 2), points.coordinates)
    np.testing.assert_array_equal(page.array("labels", "<i4"), [-1, 0, 1, 0, -1, 0, 1, 0])
    np.testing.assert_array_equal(page.array("neighbors", "<i4").reshape(8, 3), points.neighbors)
    np.testing.assert_array_equal(page.array("clusters", "<i4"), points.clusters)
    np.testing.assert_allclose(page.array("scores", "<f4").reshape(8, 3), points.scores, rtol=1e-6)
    offsets = page.array("offsets", "<u4")
    pictures = page.scripts["data-pictures"]
    for i, thumbnail in enumerate(points.thumbnails):
        assert base64.b64decode(pictures[offsets[i] : offsets[i + 1]], validate=True) == thumbnail


def test_what_is_not_given_is_not_there(tmp_path: Path) -> None:
    points = MapData(coordinates=np.zeros((2, 2)), names=("a", "b"), labels=(None, None))
    page = Page(map_page(points, tmp_path / "map.html"))
    assert set(page.scripts) == {"data-texts", "data-coordinates", "data-labels", "main"}


def test_texts_from_outside_stay_texts(tmp_path: Path) -> None:
    odd = (*ODD[:7], None)
    points = some_points(
        names=ODD,
        labels=odd,
        predicted=odd[::-1],
        title=EVIL,
        subtitle=EVIL,
        facts={EVIL: EVIL},
        meanings={EVIL: EVIL},
    )
    page = Page(map_page(points, tmp_path / "map.html"))
    texts = json.loads(page.scripts["data-texts"])
    assert texts["names"] == list(ODD)
    assert [texts["words"][code] if code >= 0 else None for code in page.array("labels", "<i4")] == list(odd)
    assert "alert(1)" not in page.scripts["main"]
    assert not any("onload" in attributes for _, attributes in page.tags)
    clean = Page(
        map_page(some_points(facts={"a": "b"}, meanings={"a": "c"}, subtitle="d"), tmp_path / "clean.html")
    )
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in clean.tags], "a text has become a tag"
    assert page.raw.count("alert(1)") == page.raw.count(r"\u003cscript\u003ealert(1)") + page.raw.count(
        "&lt;script&gt;alert(1)"
    ) + page.raw.count(r"\" onload=\"alert(1)")


def test_only_our_script_may_run_and_nothing_is_loaded(tmp_path: Path) -> None:
    page = Page(map_page(some_points(), tmp_path / "map.html"))
    policy = next(str(a["content"]) for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "script-src 'unsafe-inline'" not in policy
    assert not any({"src", "href", "srcset"} & set(attributes) for _, attributes in page.tags)
    license_texts = re.match(r"/\*!.*?\*/", page.scripts["main"], re.DOTALL)
    assert license_texts is not None
    for name in ("regl-scatterplot", "regl", "pub-sub-es", "gl-matrix", "earcut", "kdbush"):
        assert f"{name} " in license_texts[0]
    assert "Fritz Lekschas" in license_texts[0]
    rest = page.raw.replace(license_texts[0], "")
    assert not re.findall(r"https?://", rest)
    assert not re.findall(r"@import|url\(", "".join(page.text))


def test_facts_say_what_they_mean(tmp_path: Path) -> None:
    text = map_page(some_points(meanings={"Weights": "Their hash."}), tmp_path / "map.html").read_text()
    assert "Are the images that lie together on the map also near in the vectors?" in text
    assert "Their hash." in text


def test_above_the_budget_pictures_are_left_out(tmp_path: Path) -> None:
    points = some_points(400)
    whole = map_page(points, tmp_path / "whole.html")
    assert "left out" not in whole.read_text()
    budget = 500_000
    part = map_page(points, tmp_path / "part.html", byte_budget=budget)
    assert part.stat().st_size < budget < whole.stat().st_size
    page = Page(part)
    n_kept = int((np.diff(page.array("offsets", "<u4").astype(int)) > 0).sum())
    assert 100 < n_kept < 400
    assert f"Those of {400 - n_kept} others" in page.raw
    again = map_page(points, tmp_path / "again.html", byte_budget=budget)
    assert again.read_bytes() == part.read_bytes()
    other = map_page(points, tmp_path / "other.html", byte_budget=budget, seed=1)
    assert other.read_bytes() != part.read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ()}, "at least one point"),
        ({"coordinates": np.zeros((8, 3))}, r"shape \(8, 2\)"),
        ({"coordinates": np.full((8, 2), np.nan)}, "8 of 8 points"),
        ({"labels": ("cat",)}, "1 labels"),
        ({"predicted": ("cat",)}, "1 in predicted"),
        ({"clusters": np.zeros(7)}, "clusters"),
        ({"neighbors": np.full((8, 3), 8)}, "largest is 8"),
        ({"scores": np.zeros((8, 2))}, "scores"),
        ({"neighbors": None}, "give both"),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=message):
        map_page(some_points(**changes), tmp_path / "map.html")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        map_page(some_points(), tmp_path)


def test_only_a_page_of_our_own_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("mine")
    points = some_points(names=(str(tmp_path / "photo.jpg"), *map(str, range(7))))
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="is an input of this very call"):
            map_page(points, tmp_path / "photo.jpg", overwrite=overwrite)
    with pytest.raises(OutputError, match="convscope did not write it"):
        map_page(some_points(), tmp_path / "photo.jpg")
    assert (tmp_path / "photo.jpg").read_text() == "mine"
    first = map_page(points, tmp_path / "map.html").read_bytes()
    assert map_page(points, tmp_path / "map.html").read_bytes() == first


class Chromium:
    """A headless Chromium, spoken to by its DevTools protocol over a pair of pipes."""

    FLAGS = (
        "--headless=new",
        "--no-sandbox",
        "--use-angle=swiftshader",  # WebGL without a graphics card
        "--enable-unsafe-swiftshader",
        "--remote-debugging-pipe",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
    )

    def __init__(self, program: str, profile: Path, *flags: str) -> None:
        (read_in, self._to), (self._from, write_out) = os.pipe(), os.pipe()
        # The protocol is spoken over descriptors 3 and 4; the shell puts the pipes there.
        command = f'exec 3<&{read_in} 4>&{write_out}; exec "$@"'
        arguments = [program, *self.FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, "chromium", *arguments],
            pass_fds=(read_in, write_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(read_in)
        os.close(write_out)
        self._rest, self._n, self.events = b"", 0, []  # type: ignore[var-annotated]
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._n += 1
        message = {"id": self._n, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._n:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._from, 1 << 20)
            assert piece, "Chromium has ended"
            self._rest += piece
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def run(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, path: Path, fragment: str = "", size: tuple[int, int] = (1280, 800)) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False
        )
        self.events.clear()
        self.call("Page.navigate", url=f"{path.as_uri()}{fragment}")
        self.wait("document.documentElement?.dataset.ready === 'yes'")

    def wait(self, condition: str, timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while not self.run(condition):
            assert time.monotonic() < end, f"not within {timeout_s} s: {condition}; {self.complaints()}"
            time.sleep(0.05)

    def settle(self) -> None:
        """Two frames: what was asked for has been drawn."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def click(self, x: float, y: float) -> None:
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = "none" if kind == "mouseMoved" else "left"
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)
        self.settle()

    def drag(self, x: float, y: float, dx: float) -> None:
        for kind, step in (
            ("mousePressed", 0.0),
            ("mouseMoved", dx / 2),
            ("mouseMoved", dx),
            ("mouseReleased", dx),
        ):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=x + step, y=y, button="left", buttons=1, clickCount=1
            )

    def pinch(self, x: float, y: float) -> None:
        """Two fingers that go apart to twice their distance."""
        for kind, half in (("touchStart", 40), ("touchMove", 60), ("touchMove", 80), ("touchEnd", None)):
            fingers = [{"x": x + side * half, "y": y, "id": side + 1} for side in (-1, 1)] if half else []
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=fingers)

    def picture(self) -> Image.Image:
        self.settle()
        return Image.open(io.BytesIO(base64.b64decode(self.call("Page.captureScreenshot")["data"]))).convert("RGB")

    def complaints(self) -> list[str]:
        """Errors, warnings and exceptions of the page, and whatever it asked of a network."""
        found = []
        for event in self.events:
            method, parameters = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(json.dumps(parameters["exceptionDetails"])[:500])
            elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(parameters["args"])[:500])
            elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                found.append(parameters["entry"]["text"])
            elif method == "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if not url.startswith(("file:", "data:", "blob:")):
                    found.append(url)
        return found

    def close(self) -> None:
        self._session = None
        try:
            self.call("Browser.close")
        except (AssertionError, OSError):
            self._process.kill()
        self._process.wait(timeout=20)
        os.close(self._to)
        os.close(self._from)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium here")
    one = Chromium(program, tmp_path / "profile")
    yield one
    one.close()


def colored_share(picture: Image.Image) -> float:
    """Of the map's pixels, how many are clearly colored."""
    pixels = np.asarray(picture.crop((20, 160, 880, 760)), dtype=int)
    return float((np.ptp(pixels, axis=2) > 40).mean())


@pytest.mark.slow
def test_ten_thousand_points_in_a_browser(browser: Chromium, tmp_path: Path) -> None:
    n = 10_000
    points = some_points(n)
    path = map_page(points, tmp_path / "map.html")
    browser.open(path)
    assert browser.run("document.documentElement.dataset.drawn") == str(n)
    assert "10,000 images" in browser.run("document.getElementById('status').textContent")
    assert colored_share(browser.picture()) > 0.05

    browser.run("convscopeMap.select(17)")
    rows = browser.run("[...document.querySelectorAll('#selection .nearest button')].map(b => +b.dataset.row)")
    assert rows == points.neighbors[17].tolist()
    assert "17.jpg" in browser.run("document.querySelector('#selection h2').textContent")
    browser.wait("[...document.querySelectorAll('#selection img')].every(one => one.naturalWidth === 64)")
    browser.settle()
    assert browser.run("document.querySelectorAll('#links line').length") == 3

    # A click on the map chooses the point that is drawn there.
    place = "convscopeMap.view.toScreen(...convscopeMap.placeOf(4321))"
    browser.run("convscopeMap.select(-1); convscopeMap.lookAt(4321)")
    left, top = browser.run("(b => [b.left, b.top])(document.getElementById('surface').getBoundingClientRect())")
    x, y = browser.run(place)
    browser.click(left + x, top + y)
    assert browser.run("document.documentElement.dataset.selected") == "4321"

    # The wheel, keys, a drag and two fingers move the view.
    middle = {"x": left + 300, "y": top + 300}
    assert browser.run("convscopeMap.view.set(0, 0, 1); convscopeMap.view.state.zoom") == 1
    browser.call("Input.dispatchMouseEvent", type="mouseWheel", deltaX=0, deltaY=-200, **middle)
    browser.wait("convscopeMap.view.state.zoom > 1.3")
    browser.run("document.getElementById('surface').focus()")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="0")
    browser.wait("convscopeMap.view.state.zoom === 1")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    browser.wait("convscopeMap.view.state.x > 0")
    browser.drag(middle["x"], middle["y"], 90)
    browser.wait("convscopeMap.view.state.x < 0")
    browser.pinch(middle["x"], middle["y"])
    browser.wait("convscopeMap.view.state.zoom > 1.5")

    # A legend's entry isolates its points; a search its matches.
    browser.run("document.querySelector('.legend button').click()")
    browser.settle()
    assert "5,000 of 10,000 images shown" in browser.run("document.getElementById('status').textContent")
    browser.run("document.querySelector('.legend button').click()")
    browser.run(
        "(q => { q.value = '/9999.'; q.dispatchEvent(new Event('input')) })(document.getElementById('query'))"
    )
    browser.wait("document.querySelectorAll('#found button').length === 1")
    assert browser.complaints() == []


@pytest.mark.slow
def test_evil_names_do_not_run_in_a_browser(browser: Chromium, tmp_path: Path) -> None:
    evil = f"<img src=x onerror=alert(1)>{EVIL}"
    points = some_points(
        names=(evil,) * 8, labels=(evil,) * 8, predicted=(None,) * 8, title=evil, facts={evil: evil}
    )
    browser.open(map_page(points, tmp_path / "map.html"), "#point=0&find=onerror", size=(390, 844))
    assert browser.run("document.querySelector('#selection dd').textContent") == evil
    assert browser.run("document.querySelectorAll('script:not([id])').length") == 1
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert browser.complaints() == []


@pytest.mark.slow
def test_without_webgl_there_is_a_message_and_the_rest_works(tmp_path: Path) -> None:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium here")
    browser = Chromium(program, tmp_path / "profile", "--disable-3d-apis")
    try:
        browser.open(map_page(some_points(), tmp_path / "map.html"), "#point=3")
        assert "no WebGL" in browser.run("document.getElementById('message').innerText")
        assert browser.run("document.querySelectorAll('#selection .nearest button').length") == 3
        assert browser.complaints() == []
    finally:
        browser.close()
