"""A headless Chromium, for tests that look at a page as a reader does."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

MAP_IS_READY = "document.documentElement?.dataset.ready === 'yes'"


def started(folder: Path, *flags: str) -> Chromium:
    """One with its profile in a folder; the test is skipped where none is installed."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium here")
    return Chromium(program, folder / "profile", *flags)


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

    def open(
        self, path: Path, fragment: str = "", size: tuple[int, int] = (1280, 800), ready: str = MAP_IS_READY
    ) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False
        )
        self.events.clear()
        self.call("Page.navigate", url=f"{path.as_uri()}{fragment}")
        self.wait(ready)

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

    def trace(self, places: Sequence[tuple[float, float]]) -> None:
        """Drag from place to place."""
        for i, (x, y) in enumerate(places):
            self._mouse("mousePressed" if i == 0 else "mouseMoved", x, y)
        self._mouse("mouseReleased", *places[-1])
        self.settle()

    def _mouse(self, kind: str, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def press(self, key: str) -> None:
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)
        self.settle()

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
