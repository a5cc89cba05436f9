"""A headless Chromium that tests look at pages with, over DevTools' own pipe: no port, no client library."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless",
    "--hide-scrollbars",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)
LIMIT_S = 60.0


class Tab:
    """One page. ``requests``: addresses of all that it asked for since it was opened."""

    def __init__(self, commands: int, answers: int) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._commands, self._answers = commands, answers
        self._rest = b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Network", "Page", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Returns the answer to a command of the DevTools protocol."""
        number = next(self._numbers)
        asked = {"id": number, "method": method, "params": params}
        if self._session:
            asked["sessionId"] = self._session
        os.write(self._commands, json.dumps(asked).encode() + b"\0")
        told = self._wait(lambda message: message.get("id") == number)
        assert "error" not in told, f"{method}: {told.get('error')}"
        return told["result"]

    def open(self, path: Path, width: int, *, dark: bool = False, height: int = 900) -> None:
        """Shows a file at a width in CSS pixels."""
        self.requests.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        self._wait(lambda message: message.get("method") == "Page.loadEventFired")

    def value(self, script: str) -> Any:
        """Returns what an expression of JavaScript is in the page."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Writes the whole page as PNG."""
        told = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))

    def _wait(self, wanted: Any) -> Any:
        while True:
            while b"\0" in self._rest:
                raw, _, self._rest = self._rest.partition(b"\0")
                message = json.loads(raw)
                self._note(message)
                if wanted(message):
                    return message
            more = os.read(self._answers, 1 << 20)
            assert more, "Chromium ended"
            self._rest += more

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        if message.get("method") == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])


@contextmanager
def chromium(folder: Path) -> Iterator[Tab]:
    """Opens a browser whose profile is in ``folder``; it has ended afterwards."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here; remedy: apt install chromium")
    asked, commands = os.pipe()
    answers, told = os.pipe()
    process = subprocess.Popen(
        ["bash", "-c", f'exec "$@" 3<&{asked} 4>&{told}', "bash", program, *FLAGS, f"--user-data-dir={folder}"],
        pass_fds=(asked, told),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(asked)
    os.close(told)
    try:
        yield Tab(commands, answers)
    finally:
        os.close(commands)  # the browser ends with its pipe
        try:
            process.wait(LIMIT_S)
        finally:
            process.kill()
            process.wait()
            os.close(answers)
