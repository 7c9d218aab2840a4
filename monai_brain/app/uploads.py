"""Where uploaded files lie while they are looked at: a private folder, one for each visitor, emptied after use."""

import hashlib
import json
import os
import secrets
import shutil
import threading
import time
import unicodedata
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from monai_brain.app.guard import UPLOADS, visitor_of
from monai_brain.app.http import Receive, Refusal, Scope, Send

LONGEST_NAME_BYTES = 200
"""Of a file; the task's suffixes need room."""

FILES_PER_UPLOAD = 2_000
"""A series has some hundred."""

IDLE_SECONDS = 900.0
"""After which an upload that nobody looks at is removed."""

FILE_NAME_HEADER = b"x-file-name"


class Uploads:
    """A folder of uploads: `visitor/group/files`; a group is what was dropped at once.

    Args:
        folder: private and empty; the caller removes it at the end.
        max_bytes: of a group.
        max_bytes_kept: of all groups together; beyond, `has_room` is false.
    """

    def __init__(self, folder: Path, max_bytes: int, max_bytes_kept: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.max_bytes_kept = max_bytes_kept
        self.sizes: dict[Path, int] = {}
        self.used: dict[Path, float] = {}
        self.lock = threading.Lock()

    def has_room(self) -> bool:
        """Whether a further file may come; what nobody looks at is removed first."""
        self.sweep()
        return sum(self.sizes.values()) + self.max_bytes <= self.max_bytes_kept

    def group(self, visitor: str, name: str) -> Path | None:
        """Folder of a visitor's upload, which now counts as used; None where it was removed, or never came."""
        place = self._place(visitor, name)
        with self.lock:
            if place not in self.sizes:
                return None
            self.used[place] = time.monotonic()
        return place

    def sweep(self, idle_seconds: float = IDLE_SECONDS) -> None:
        """Remove what was not used for so long."""
        now = time.monotonic()
        with self.lock:
            old = [place for place, used in self.used.items() if now - used > idle_seconds]
        for place in old:
            self._remove(place)

    def remove_others(self, visitor: str, name: str) -> None:
        """Remove a visitor's other uploads."""
        stays = self._place(visitor, name)
        with self.lock:
            others = [place for place in self.sizes if place.parent == stays.parent and place != stays]
        for place in others:
            self._remove(place)

    async def receive_file(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: take one file, the body as it is, its name in the header `X-File-Name` (percent-encoded UTF-8).

        The guard has checked visitor and address.
        """
        headers = dict(scope["headers"])
        visitor = visitor_of(headers.get(b"cookie", b"").decode("latin-1")) or ""
        place = self._place(visitor, scope["path"].removeprefix(UPLOADS))
        name = safe_name(unquote(headers.get(FILE_NAME_HEADER, b"").decode("latin-1"), errors="replace"))
        target = self._new_file(place, name)
        try:
            with target.open("xb") as file:
                await self._take(place, file.write, receive)
        except BaseException:
            self._remove(place)
            raise
        await answer(send, HTTPStatus.OK, {"name": name})

    def add(self, visitor: str, name: str, files: Iterable[Path]) -> None:
        """Copy files of our own into a visitor's group."""
        place = self._place(visitor, name)
        for path in files:
            shutil.copyfile(path, self._new_file(place, safe_name(path.name)))

    def _new_file(self, place: Path, name: str) -> Path:
        files = place / "files"
        files.mkdir(parents=True, exist_ok=True)
        with self.lock:
            self.sizes.setdefault(place, 0)
            self.used[place] = time.monotonic()
        if sum(1 for _ in files.iterdir()) >= FILES_PER_UPLOAD:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"More than {FILES_PER_UPLOAD} files; send a zip.")
        if (files / name).exists():
            raise Refusal(HTTPStatus.CONFLICT, "Two files have the same name; rename one of them.")
        return files / name

    async def _take(self, place: Path, write: Callable[[bytes], Any], receive: Receive) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise Refusal(HTTPStatus.BAD_REQUEST, "The upload was interrupted.")
            body, more = message.get("body", b""), message.get("more_body", False)
            with self.lock:
                if place not in self.sizes:
                    raise Refusal(HTTPStatus.GONE, "The upload was replaced by another one.")
                self.sizes[place] += len(body)
                size = self.sizes[place]
            if size > self.max_bytes:
                megabytes = self.max_bytes // 1024**2
                raise Refusal(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"More than {megabytes} MB together; nothing was stored."
                )
            write(body)

    def _place(self, visitor: str, name: str) -> Path:
        """No part of it is chosen by the visitor."""
        return self.folder / _digest(visitor) / _digest(name)

    def _remove(self, place: Path) -> None:
        with self.lock:
            self.sizes.pop(place, None)
            self.used.pop(place, None)
        shutil.rmtree(place, ignore_errors=True)


def new_group() -> str:
    """A name for an upload that does not come from a browser."""
    return secrets.token_urlsafe(16)


def safe_name(name: str) -> str:
    """A file's own name, without folders and control characters, not too long; `file` where nothing is left.

    Markup stays: whoever shows it must escape it.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join("_" if unicodedata.category(c) in ("Cc", "Cs", "Cf") else c for c in last).strip()
    kept = kept.lstrip(".") or "file"
    encoded = os.fsencode(kept)
    if len(encoded) <= LONGEST_NAME_BYTES:
        return kept
    suffix = "".join(Path(kept).suffixes[-2:])[-16:]
    return encoded[: LONGEST_NAME_BYTES - len(os.fsencode(suffix))].decode(errors="ignore") + suffix


async def answer(send: Callable[[dict[str, Any]], Awaitable[None]], status: int, value: Any) -> None:
    """Send a reply of JSON."""
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
