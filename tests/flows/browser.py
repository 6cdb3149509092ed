"""A headless Chromium, driven over its DevTools protocol: pages as a person sees them, scripts run, pictures loaded."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BYTES = 150_000  # of a screenshot
# Elements inside shadow roots and frames count as well.
TEXT = "document.body ? document.body.innerText : ''"


class Browser:
    """One tab. ``wait_for`` reads the page until a text stands in it; ``shot`` keeps a picture of what is seen."""

    def __init__(self, width: int = 1280, height: int = 900):
        from websockets.sync.client import connect

        assert CHROMIUM
        self.profile = tempfile.mkdtemp(prefix="chromium-")
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
        options += [
            f"--user-data-dir={self.profile}",
            f"--window-size={width},{height}",
            "--no-first-run",
            "--disable-extensions",
        ]
        self.process = subprocess.Popen(
            [CHROMIUM, *options, "about:blank"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        port = self._port()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=20) as reply:
            (page,) = [p for p in json.load(reply) if p["type"] == "page"]
        self.socket = connect(page["webSocketDebuggerUrl"], max_size=None, open_timeout=60)
        self.numbers = itertools.count(1)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.enable")

    def _port(self) -> int:
        assert self.process.stderr
        for line in self.process.stderr:
            if found := re.search(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/", line):
                return int(found[1])
        raise AssertionError("chromium did not start")

    def call(self, method: str, **params: object) -> dict:
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            reply = json.loads(self.socket.recv(timeout=60))
            if reply.get("id") == number:
                assert "error" not in reply, reply
                return reply["result"]

    def run(self, script: str) -> object:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def text(self) -> str:
        return str(self.run(TEXT) or "")

    def wait_for(self, *texts: str, seconds: float = 90) -> str:
        """The page's text, once all of ``texts`` stand in it."""
        end = time.monotonic() + seconds
        while True:
            seen = self.text()
            if all(t.lower() in seen.lower() for t in texts):
                return seen
            assert time.monotonic() < end, f"{[t for t in texts if t.lower() not in seen.lower()]} not in: {seen[:3000]}"
            time.sleep(0.5)

    def wait_until(self, script: str, seconds: float = 60) -> object:
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"never: {script}"
            time.sleep(0.5)
        return value

    def click(self, text: str) -> None:
        """The innermost thing that says just ``text``."""
        found = f"""(() => {{ const all = [...document.querySelectorAll('a, button, [role=tab], li, span, label')]
            .filter(e => e.innerText && e.innerText.trim() === {json.dumps(text)}); const e = all[all.length - 1];
            if (e) e.click(); return !!e; }})()"""
        self.wait_until(found)

    def pictures(self) -> list[int]:
        """Widths of the data-URI pictures that were really decoded."""
        script = "[...document.querySelectorAll('img')].filter(i => i.src.startsWith('data:image/')).map(i => i.naturalWidth)"
        return list(self.run(script) or [])

    def scroll_to(self, text: str) -> None:
        """What says ``text`` comes to the top of the view."""
        script = f"""(() => {{ const all = [...document.querySelectorAll('h1, h2, h3, h4, p, strong, th, label, div, span')]
            .filter(e => e.innerText && e.innerText.trim().startsWith({json.dumps(text)})); const e = all[all.length - 1];
            if (e) e.scrollIntoView({{block: 'start'}}); return !!e; }})()"""
        self.wait_until(script)

    def shot(self, path: Path, height: int | None = None) -> None:
        """What is seen, as a PNG of few colours and at most ``BYTES``."""
        from PIL import Image

        time.sleep(1)  # transitions
        body = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        image = Image.open(io.BytesIO(body)).convert("RGB")
        if height:
            image = image.crop((0, 0, image.width, min(height, image.height)))
        for colors, scale in ((256, 1.0), (128, 1.0), (64, 1.0), (64, 0.8), (48, 0.66), (32, 0.5)):
            smaller = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.LANCZOS)
            stream = io.BytesIO()
            smaller.quantize(colors, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
            if stream.tell() <= BYTES:
                break
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stream.getvalue())

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.profile, ignore_errors=True)
