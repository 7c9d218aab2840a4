"""What stands between the network and the page: who may ask, what for, how much at once; headers of every reply.

Pure ASGI, without gradio, and in front of all that it offers: what is not in `PATHS` does not exist.
"""

import asyncio
import base64
import binascii
import hmac
import ipaddress
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple
from urllib.parse import urlsplit

from monai_brain.app.http import COOKIE, Receive, Refusal, RequestBody, Response, Scope, Send, headers_of

App = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")

UPLOADS = "/uploads/"
"""Below it lie the addresses that files are sent to."""

PATHS = {
    "GET": re.compile(
        r"/|/config/?|/theme\.css|/favicon\.ico|/(assets|static|svelte)/.*"
        r"|/gradio_api/(queue/data|heartbeat/\w+|startup-events|app_id)/?"
    ),
    "POST": re.compile(rf"{UPLOADS}[A-Za-z0-9_-]{{1,64}}|/gradio_api/(queue/join|reset|cancel)/?"),
}
"""What may be asked for: gradio's page and its queue. Its own uploads, files, proxy and programs' interface are not
among them."""

EVENT_BYTES = 256 * 1024
"""Largest body that is no file: what a click sends is below one kilobyte."""

UPLOADS_AT_ONCE = 8
"""Further ones are answered with 503."""

UPLOAD_SECONDS = 300.0
"""That a body may take to arrive."""

EVENT_SECONDS = 10.0
"""That a body which is no file may take to arrive."""

FAILURES, FAILURE_SECONDS = 10, 60.0
"""After so many wrong passwords in a row from one address, this address waits so long, with the right one too."""

ADDRESSES = 10_000
"""With wrong passwords that are remembered; beyond, the oldest is forgotten."""

STREAM = re.compile(r"/gradio_api/queue/data/?")
"""Where a visitor's answers arrive; its `session_hash` belongs to the first cookie that asks for it."""

SESSION = re.compile(r"(?:^|&)session_hash=([^&]*)")

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Guard:
    """An ASGI application around another one.

    Args:
        app: that is guarded.
        host: address that the server is bound to; loopback, or any other one, which wants a password.
        password: None: nobody is asked.
        public_name: under which a proxy serves the page to others; wants a password too.
        max_upload_bytes: largest body that is sent to `UPLOADS`.
        uploads_at_once: see `UPLOADS_AT_ONCE`.
        upload_seconds: see `UPLOAD_SECONDS`.
        has_room: whether a further upload may be kept; 503 if not.

    Raises:
        PasswordNeeded: an address other than loopback, or a public name, without a password.
    """

    def __init__(
        self,
        app: App,
        *,
        host: str = "127.0.0.1",
        password: str | None = None,
        public_name: str | None = None,
        max_upload_bytes: int = 64 * 1024**2,
        uploads_at_once: int = UPLOADS_AT_ONCE,
        upload_seconds: float = UPLOAD_SECONDS,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        check_address(host, password, public_name)
        self.app = app
        self.host = host
        self.public_name = public_name.lower() if public_name else None
        self.password = password
        self.max_upload_bytes = max_upload_bytes
        self.uploads_at_once = uploads_at_once
        self.upload_seconds = upload_seconds
        self.has_room = has_room
        self.uploading = 0
        self.failures: dict[str, Failures] = {}
        self.owners: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web sockets: the server refuses what nobody accepts
        reply = Response(scope, send)
        is_upload = scope["path"].startswith(UPLOADS)
        body = RequestBody(receive, self._limit(scope), self.upload_seconds if is_upload else EVENT_SECONDS)
        try:
            self._check(scope)
            reply.new_token = _visitor(scope)
            if is_upload:
                await self._upload(scope, body, reply)
            else:
                await self._handed_on(scope, body, reply)
        except Refusal as refusal:
            await body.thrown_away()
            if not reply.has_begun:
                await reply.refused(refusal)

    async def _upload(self, scope: Scope, body: RequestBody, reply: Response) -> None:
        if self.uploading >= self.uploads_at_once or not self.has_room():
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "Too many uploads at once; try again in a moment.", BUSY)
        self.uploading += 1
        try:
            await self._handed_on(scope, body, reply)
        finally:
            self.uploading -= 1

    async def _handed_on(self, scope: Scope, body: RequestBody, reply: Response) -> None:
        """Let the application answer; whatever it makes of a refused body, the refusal is the answer."""
        body.check_announced(scope)
        reply.body = body
        try:
            await self.app(scope, body, reply)
        except Refusal:
            raise
        except Exception as error:
            if body.refusal is None and not reply.has_begun:
                raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong; nothing was stored.") from error
            if body.refusal is None:
                raise
        if body.refusal is not None and not reply.has_begun:
            raise body.refusal

    def _limit(self, scope: Scope) -> int:
        return self.max_upload_bytes if scope.get("path", "").startswith(UPLOADS) else EVENT_BYTES

    def _check(self, scope: Scope) -> None:
        headers = headers_of(scope)
        authority = headers.get("host", "")
        if not self._is_own(authority):
            raise Refusal(HTTPStatus.FORBIDDEN, "This page is not served under that name.")
        origin = headers.get("origin")
        if origin is not None and not self._is_own_origin(origin, authority):
            raise Refusal(HTTPStatus.FORBIDDEN, "Requests from other pages are refused.")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            raise Refusal(HTTPStatus.FORBIDDEN, "Requests from other pages are refused.")
        self._check_password(headers.get("authorization", ""), self._address(scope, headers))
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in PATHS:
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Not offered.")
        if not PATHS[method].fullmatch(scope["path"]) or ".." in scope["path"]:
            raise Refusal(HTTPStatus.NOT_FOUND, "Not offered.")
        self._check_stream(scope, headers.get("cookie", ""))

    def _check_stream(self, scope: Scope, cookies: str) -> None:
        """Let nobody else read a visitor's answers."""
        session = SESSION.search(scope.get("query_string", b"").decode("latin-1"))
        if session is None or not STREAM.fullmatch(scope["path"]):
            return
        visitor = visitor_of(cookies) or ""
        if self.owners.setdefault(session[1], visitor) != visitor:
            raise Refusal(HTTPStatus.NOT_FOUND, "Not offered.")
        while len(self.owners) > ADDRESSES:
            del self.owners[next(iter(self.owners))]

    def _address(self, scope: Scope, headers: Mapping[str, str]) -> str:
        """Who asks; behind a declared proxy, as the proxy says: the last entry is its own."""
        own = (scope.get("client") or ("",))[0]
        forwarded = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        return forwarded if self.public_name is not None and forwarded else own

    def _is_own_origin(self, origin: str, authority: str) -> bool:
        """Whether a page that asks is this one; behind a proxy it may know only the public name."""
        try:
            parts = urlsplit(origin)
            return parts.scheme in ("http", "https") and (
                parts.netloc == authority or (self.public_name is not None and parts.hostname == self.public_name)
            )
        except ValueError:
            return False

    def _is_own(self, authority: str) -> bool:
        """Whether a Host header names this server: a name that anybody's DNS can point here does not.

        Bound to every address, any address in figures is one of its own, and no name but localhost.
        """
        try:
            name = "" if "@" in authority else urlsplit(f"//{authority}").hostname or ""
        except ValueError:
            return False
        if name in LOOPBACK or name in (self.host.lower(), self.public_name):
            return True
        return self.host in ("0.0.0.0", "::") and _is_address(name)

    def _check_password(self, authorization: str, address: str) -> None:
        if self.password is None:
            return
        now = asyncio.get_running_loop().time()
        earlier = self.failures.get(address, NO_FAILURES)
        if now < earlier.locked_until:
            seconds = str(int(earlier.locked_until - now) + 1).encode()
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS, "Too many wrong passwords; wait a minute.", [(b"retry-after", seconds)]
            )
        given = _password_in(authorization)
        if given is not None and hmac.compare_digest(given.encode(), self.password.encode()):
            self.failures.pop(address, None)
            return
        if given is not None:
            self._note_failure(address, earlier.number + 1, now)
        ask = [(b"www-authenticate", b'Basic realm="MONAI Brain", charset="UTF-8"')]
        raise Refusal(HTTPStatus.UNAUTHORIZED, "The password is needed; the user name does not matter.", ask)

    def _note_failure(self, address: str, number: int, now: float) -> None:
        is_last = number >= FAILURES
        self.failures.pop(address, None)
        self.failures[address] = Failures(0, now + FAILURE_SECONDS) if is_last else Failures(number)
        if len(self.failures) > ADDRESSES:
            del self.failures[next(iter(self.failures))]


class Failures(NamedTuple):
    """Wrong passwords from one address."""

    number: int
    locked_until: float = 0.0


NO_FAILURES = Failures(0)

BUSY = ((b"retry-after", b"2"),)


class PasswordNeeded(ValueError):
    """The page would be open to the network."""


LEAST_PASSWORD = 8
"""Characters."""


def check_address(host: str, password: str | None, public_name: str | None = None) -> None:
    """Refuse to open the page to a network without a password.

    Raises:
        PasswordNeeded: with the way to give one.
    """
    way = "put one into a file and name it with --password-file, or into MONAI_BRAIN_PASSWORD"
    if (host not in LOOPBACK or public_name) and not password:
        raise PasswordNeeded(f"{public_name or host}: others could reach the page there, so it needs a password; {way}")
    if password is not None and len(password) < LEAST_PASSWORD:
        raise PasswordNeeded(f"a password of {len(password)} characters; at least {LEAST_PASSWORD} are needed; {way}")


def visitor_of(cookies: str) -> str | None:
    """The visitor that a Cookie header names, or None."""
    try:
        morsel = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel is not None and TOKEN.fullmatch(morsel.value) else None


def _visitor(scope: Scope) -> str | None:
    """A token for a visitor who comes for the first time; None for one who has one.

    Raises:
        Refusal: files from somebody who never saw the page.
    """
    if visitor_of(headers_of(scope).get("cookie", "")) is not None:
        return None
    if scope["path"].startswith(UPLOADS):
        raise Refusal(HTTPStatus.FORBIDDEN, "Open the page first.")
    return secrets.token_urlsafe(32) if scope["path"] == "/" else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _password_in(authorization: str) -> str | None:
    kind, _, encoded = authorization.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None
