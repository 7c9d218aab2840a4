"""The web page beside hundreds of connections that want nothing good, and its memory over many uploads."""

import base64
import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from soaks.folder import ROOT, memory_mb

CONNECTIONS = 500
VISITS = 20
SLOWEST_SECONDS = 2.0
"""That a visitor may wait for anything but the network's answer."""

UPLOADS, WARM_UPLOADS = 200, 20
LARGEST_GROWTH_MB = 100
SIDE_PIXELS = 1024
"""Of the uploads: noise, a megabyte each."""

BEGINNINGS = (
    b"",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: ",
    b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n{login}\r\n\r\n{",
)
"""Of connections that are idle, send half a header, and a slow body; the last of somebody who is logged in."""


class Visitor:
    """Somebody with the password, in a new browser."""

    def __init__(self, port: int, login: str) -> None:
        self.port = port
        self.headers = {"Authorization": login}
        headers, _ = self.ask("GET", "/")
        self.headers["Cookie"] = re.search(r"monai_brain=[\w-]+", headers["set-cookie"] or "")[0]  # type: ignore[index]
        self.session = secrets.token_hex(5)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[Any, bytes]:
        """Headers and body of a reply that must be 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {**self.headers, **named})
            reply = connection.getresponse()
            content = reply.read()
            if reply.status != http.client.OK:
                raise RuntimeError(f"{method} {path}: {reply.status} {content[:200]!r}")
            return reply.headers, content

    def send(self, content: bytes) -> str:
        """Upload a file."""
        group = secrets.token_hex(16)
        self.ask("POST", f"/uploads/{group}", content, X_File_Name="scan.png")
        return group

    def answer(self, group: str) -> None:
        """Order what the page orders after an upload, and wait for what comes."""
        order = json.dumps({"upload": group, "number": secrets.token_hex(16)})
        asked = {"data": [order, "brain_tumor_classification", "gradcam"], "fn_index": 0, "session_hash": self.session}
        self.ask("POST", "/gradio_api/queue/join", json.dumps(asked).encode(), Content_Type="application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", f"/gradio_api/queue/data?session_hash={self.session}", headers=self.headers)
            for line in connection.getresponse():
                if b'"process_completed"' in line:
                    if not json.loads(line.removeprefix(b"data: "))["success"]:
                        raise RuntimeError(line.decode()[:500])
                    return
        raise RuntimeError("no answer came")


def soak_page(folder: Path) -> int:
    """Serve the shipped classifier; print what was measured; 1 if it is too slow, or grows too much."""
    folder.mkdir(parents=True, exist_ok=True)
    password = secrets.token_hex(8)
    login = "Basic " + base64.b64encode(f"visitor:{password}".encode()).decode()
    log = folder / "page.log"
    with served(folder, password, log) as (port, process):
        slowest, opened = beside_connections(port, login)
        print(f"{CONNECTIONS} connections at once, {opened} in all, beside {VISITS} visits: {slowest}", flush=True)
        warm, highest, seconds = many_uploads(port, login, process.pid)
    growth = highest - warm
    print(
        f"{UPLOADS} uploads with answers in {seconds:.0f} s: {warm:.0f} MB after {WARM_UPLOADS}, at most "
        f"{highest:.0f} MB later ({growth:+.0f} MB)"
    )
    text = log.read_text(encoding="utf-8")
    if "Traceback" in text:
        print(f"a traceback in the log:\n{text[-3000:]}")
    return int("Traceback" in text or growth > LARGEST_GROWTH_MB or max(slowest.values()) > SLOWEST_SECONDS)


@contextlib.contextmanager
def served(folder: Path, password: str, log: Path) -> Iterator[tuple[int, subprocess.Popen]]:
    """Port and process of the page."""
    command = [sys.executable, "-m", "monai_brain", "app", "--port", "0"]
    command += ["--bundle", str(ROOT / "bundles" / "brain_tumor_classification")]
    environment = {**os.environ, "MONAI_BRAIN_PASSWORD": password, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    port = next(int(line.split()[1].rpartition(":")[2]) for line in process.stdout if line.startswith("Page: "))
    try:
        yield port, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def beside_connections(port: int, login: str) -> tuple[dict[str, float], int]:
    """The longest times of a visitor's steps, seconds, while so many connections are held; and how many were opened."""
    ended, opened = threading.Event(), [0]

    def hold(number: int) -> None:
        beginning = BEGINNINGS[number % len(BEGINNINGS)].replace(b"{login}", f"Authorization: {login}".encode())
        while not ended.is_set():  # one that the server closes comes again
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as own:
                opened[0] += 1
                own.sendall(beginning)
                while not ended.is_set():
                    with contextlib.suppress(TimeoutError):
                        if not own.recv(4096):
                            break
            ended.wait(0.5)

    threads = [threading.Thread(target=hold, args=(number,), daemon=True) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    slowest = {"page": 0.0, "upload": 0.0, "answer": 0.0}
    for number in range(VISITS):
        began = time.monotonic()
        visitor = Visitor(port, login)
        seen = time.monotonic()
        group = visitor.send(noise(number))
        sent = time.monotonic()
        visitor.answer(group)
        took = {"page": seen - began, "upload": sent - seen, "answer": time.monotonic() - sent}
        slowest = {name: round(max(slowest[name], own), 2) for name, own in took.items()}
    ended.set()
    for thread in threads:
        thread.join()
    return slowest, opened[0]


def many_uploads(port: int, login: str, process: int) -> tuple[float, float, float]:
    """Memory after the first uploads and the most later, MB; and the seconds."""
    began, visitor, warm, highest = time.monotonic(), Visitor(port, login), 0.0, 0.0
    for number in range(UPLOADS):
        visitor.answer(visitor.send(noise(1000 + number)))
        used = memory_mb(process)
        if number + 1 == WARM_UPLOADS:
            warm = used
        elif number >= WARM_UPLOADS:
            highest = max(highest, used)
    return warm, highest, time.monotonic() - began


def noise(seed: int) -> bytes:
    """A PNG that no other one is equal to."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE_PIXELS, SIDE_PIXELS), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()
