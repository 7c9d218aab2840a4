"""Serve the page: address, password, private folder, and an end that leaves nothing behind."""

import contextlib
import itertools
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path

from monai_brain.app.connections import make_protocol
from monai_brain.app.guard import UPLOADS, Guard, check_address
from monai_brain.app.http import Receive, Scope, Send
from monai_brain.app.queue_filter import QueueFilter
from monai_brain.inference.apply import REPOSITORY_BUNDLES, NoBundle
from monai_brain.inference.session import Session
from monai_brain.io.lock import NAME as LOCK_NAME
from monai_brain.io.lock import FolderInUse, FolderLock
from monai_brain.io.weights import InvalidWeights, find_weights
from monai_brain.optional import require

UPLOADS_KEPT = 16
"""Of the largest size, at once; others are answered with 503."""

SECONDS_TO_END = 5

PREFIX = "monai-brain-app-"
"""Of private folders in the system's temporary one."""


def serve(
    *,
    bundles: Sequence[Path] = (),
    weights: Sequence[Path] = (),
    host: str = "127.0.0.1",
    port: int = 7860,
    password: str | None = None,
    public_name: str | None = None,
    max_upload_mb: int = 64,
    precision: str | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve the page until the process is asked to end.

    Args:
        bundles: folders; none: all of the repository's that have weights.
        weights: of the bundles, in their order; those left out take their own.
        host: address to be bound to.
        port: 0 takes a free one.
        password: see `guard.check_address`.
        public_name: under which a proxy serves the page to others.
        max_upload_mb: of one upload, all its files together.
        precision: of the torch engine.
        log: gets a line with the page's address, once it can be opened.

    Raises:
        PasswordNeeded: the page would be open to others.
        NoBundle, InvalidWeights: there is nothing to serve.
        MissingDependency: gradio is not installed.
    """
    check_address(host, password, public_name)
    with contextlib.ExitStack() as stack:
        bound = stack.enter_context(_bound(host, port))
        folder = stack.enter_context(private_folder())
        from monai_brain.app import page as pages  # says first that gradio's reports are off
        from monai_brain.app.analysis import Analyzer, make_examples
        from monai_brain.app.uploads import Uploads

        uvicorn = require("uvicorn", feature="the web page", install=pages.INSTALL)
        h11_impl = require("uvicorn.protocols.http.h11_impl", feature="the web page", install=pages.INSTALL)
        fastapi = require("fastapi", feature="the web page", install=pages.INSTALL)
        require("gradio", feature="the web page", install=pages.INSTALL)
        sessions: dict[str, Session] = {}
        for bundle, own in paired(bundles, weights):
            session = Session(bundle, own, precision=precision)
            stack.callback(session.close)
            sessions[_free_name(session.name, own, sessions)] = session
        largest = max_upload_mb * 1024**2
        uploads = Uploads(folder / "uploads", largest, UPLOADS_KEPT * largest)
        segments = any(session.kind == "segmentation" for session in sessions.values())
        examples = make_examples(folder / "examples", volume=segments)
        page = pages.build_page(Analyzer(sessions, uploads), examples, max_upload_mb)
        empty = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        inner = QueueFilter(pages.mount(empty, page, host), pages.checks_of(page))

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"].startswith(UPLOADS):
                await uploads.receive_file(scope, receive, send)
            else:
                await inner(scope, receive, send)

        guarded = Guard(
            app,
            host=host,
            password=password,
            public_name=public_name,
            max_upload_bytes=largest,
            has_room=uploads.has_room,
        )
        config = uvicorn.Config(
            guarded,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            http=make_protocol(h11_impl.H11Protocol),
            timeout_graceful_shutdown=SECONDS_TO_END,
        )
        bound.listen()  # so that whoever is told can ask at once
        log(f"http://{_in_address(host)}:{bound.getsockname()[1]}")
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[bound])


def paired(bundles: Sequence[Path], weights: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Bundles with their weights.

    Raises:
        NoBundle: there is none with weights, or there are more weights than bundles.
        InvalidWeights: a bundle that was named has none.
    """
    if bundles:
        if len(weights) > len(bundles):
            raise NoBundle(f"{len(weights)} weights for {len(bundles)} bundles; name a --bundle for each")
        found = [*weights, *[None] * (len(bundles) - len(weights))]
        return list(zip(bundles, found, strict=True))
    usual = [path.parents[1] for path in sorted(REPOSITORY_BUNDLES.glob("*/configs/inference.yaml"))]
    if weights:
        return list(zip(usual, weights, strict=False))
    having: list[tuple[Path, Path | None]] = []
    for bundle in usual:
        with contextlib.suppress(InvalidWeights):
            find_weights(bundle)
            having.append((bundle, None))
    if not having:
        raise NoBundle(f"{REPOSITORY_BUNDLES}: no bundle with weights; name one with --bundle, and its --weights")
    return having


def _free_name(bundle: str, weights: Path | None, taken: Container[str]) -> str:
    """Of a bundle that is served twice, with other weights, the second is named after these too."""
    if bundle not in taken:
        return bundle
    named = f"{bundle}, {weights or 'its own weights'}"
    return next(name for number in itertools.count(1) if (name := f"{named} ({number})") not in taken)


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only this user may enter, for everything that is written; gone at the end.

    Those of earlier processes that were killed go first: their locks are free.
    """
    before = tempfile.tempdir
    remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o700)
        lock = FolderLock(folder)
        lock.acquire()
        (folder / "other").mkdir()
        tempfile.tempdir = str(folder / "other")
        environment = {"GRADIO_TEMP_DIR": str(folder / "gradio"), "TMPDIR": str(folder / "other")}
        earlier = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)  # which the processes that open files inherit: some die and leave copies
        try:
            yield folder
        finally:
            lock.release()
            tempfile.tempdir = before
            for name, value in earlier.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def remove_abandoned(parent: Path) -> None:
    """Remove the private folders of this user's processes that are gone, with the uploads in them."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, FolderInUse):
            is_own = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
            if not is_own or folder.is_symlink() or not (folder / LOCK_NAME).is_file():
                continue  # another user's, or one that is just being made
            lock = FolderLock(folder)
            lock.acquire()
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise PermissionError(f"{host}:{port}: cannot be served there ({error.strerror}); try another --port") from None
    return bound


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host
