"""A real browser: the system's chromium, which may fetch nothing from elsewhere."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from monai_brain.app.http import COOKIE
from monai_brain.evaluation.calibration_file import CALIBRATION, PATIENTS, SLICES, Calibration, write_calibration
from monai_brain.evaluation.conformal import COVERAGES
from monai_brain.io.weights import write_weights
from monai_brain.io.write import sha256_of
from monai_brain.labels import CLASS_NAMES
from tests.bundles.test_masks import BUNDLE as SEGMENTER
from tests.bundles.test_masks import Bright
from tests.conftest import BUNDLE, REPOSITORY

PATIENCE = 90_000
"""Milliseconds that a page may take on a busy machine; speed is measured elsewhere."""

DESKTOP = {"width": 1280, "height": 900}
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
MAX_UPLOAD_MB = 6

OWN = ("file:", "data:", "blob:", "http://127.0.0.1:", "http://localhost:", "ws://127.0.0.1:")


TORN = r"""() => {
  const torn = [];
  const places = "td, th, dt, dd, summary, figcaption, h1, h2, p, label, button";
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = words.nextNode(); text; text = words.nextNode()) {
    if (!text.parentElement.closest(places)) continue;
    for (const word of text.data.matchAll(/[\p{L}\p{N}]+(?:[.,]\d+)*/gu)) {
      const range = document.createRange();
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      const lines = new Set(Array.from(range.getClientRects(), (box) => Math.round(box.top)));
      if (lines.size > 1) torn.push(word[0]);
    }
  }
  return torn;
}"""
"""Words and numbers that stand in two lines."""

BEYOND = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
"""Pixels that the whole page could be scrolled sideways."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a new visitor."""
    with (
        browser.new_context(viewport=DESKTOP, accept_downloads=True, has_touch=True) as context,
        watched(context) as own,
    ):
        yield own


@pytest.fixture(scope="session")
def visitor(browser: Browser) -> Iterator[BrowserContext]:
    """One visitor for many tests of a server: the browser loads its scripts once."""
    context = browser.new_context(viewport=DESKTOP, accept_downloads=True, has_touch=True)
    yield context
    context.close()


@contextlib.contextmanager
def watched(context: BrowserContext) -> Iterator[Page]:
    """A new page; at the end nothing was asked of another host, and no script failed."""
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    elsewhere: list[str] = []
    failures: list[str] = []
    opened.on("request", lambda request: elsewhere.append(request.url) if not request.url.startswith(OWN) else None)
    opened.on("pageerror", lambda error: failures.append(str(error)))
    yield opened
    opened.close()
    assert elsewhere == []
    assert failures == []


class Server:
    def __init__(self, address, process):
        self.address, self.process = address, process
        self.port = int(address.rpartition(":")[2])

    def ask(self, method, path, body=b"", **headers):
        """Status, headers and body; a header's name has `_` for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): v for name, v in headers.items()})
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()

    def cookie(self):
        return re.search(rf"{COOKIE}=[\w-]+", self.ask("GET", "/")[1]["set-cookie"])[0]

    def peak_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


@pytest.fixture(scope="session")
def temporary(tmp_path_factory):
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="session")
def undecided(tmp_path_factory):
    """The shipped network, made to take every slice for glioma or meningioma."""
    folder = tmp_path_factory.mktemp("weights")
    shutil.copy(BUNDLE / "models" / "model.safetensors", folder)
    least = np.tile([0.0, 0.0, 1.0, 1.0], (len(COVERAGES), 1))
    digest = sha256_of(folder / "model.safetensors")
    write_calibration(folder / CALIBRATION, Calibration(CLASS_NAMES, digest, 1.5, {SLICES: least, PATIENTS: least}, {}))
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory, temporary, undecided):
    """The page, served as users serve it: classifier, segmenter, and a classifier that is never sure."""
    bright = tmp_path_factory.mktemp("weights") / "bright.safetensors"
    write_weights(Bright(), bright)
    command = [sys.executable, "-m", "monai_brain", "app", "--port", "0", "--max-upload-mb", str(MAX_UPLOAD_MB)]
    for bundle, weights in ((BUNDLE, BUNDLE), (SEGMENTER, bright), (BUNDLE, undecided)):
        command += ["--bundle", str(bundle), "--weights", str(weights)]
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=environment)
    for line in process.stdout:
        if line.startswith("Page: "):
            break
    yield Server(line.split()[1], process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert list(temporary.iterdir()) == []
