"""What goes through the guard: a request's body, counted; a reply, with the headers of every reply; a refusal."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

COOKIE = "monai_brain"
"""Tells visitors apart, so that nobody is shown another's files."""

REFUSED_SECONDS, REFUSED_FACTOR = 60.0, 4
"""How long, and up to how many times the limit, a refused body is read and thrown away: a browser that still sends
would not see the answer otherwise."""

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""Nothing is fetched from elsewhere. Gradio's page has scripts and styles inside of it."""

HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)


class Refusal(Exception):
    """An answer that is no page.

    Args:
        status: of HTTP.
        words: one line for people; names nothing of this machine.
        headers: further ones.
    """

    def __init__(self, status: int, words: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(words)
        self.status = status
        self.headers = tuple(headers)


class RequestBody:
    """What is received, counted while it comes."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self.receive = receive
        self.limit = limit
        self.until = asyncio.get_running_loop().time() + seconds
        self.taken = 0
        self.is_whole = False
        self.refusal: Refusal | None = None

    def check_announced(self, scope: Scope) -> None:
        """Refuse what says of itself that it is too large."""
        announced = headers_of(scope).get("content-length", "0")
        if not announced.isdecimal() or int(announced) > self.limit:
            raise self._too_large()

    async def __call__(self) -> Message:
        """The next part.

        Raises:
            Refusal: it took too long, or is too large.
        """
        if self.is_whole:
            return await self.receive()  # which tells that the visitor left
        try:
            async with asyncio.timeout_at(self.until):
                message = await self.receive()
        except TimeoutError:
            self.refusal = Refusal(HTTPStatus.REQUEST_TIMEOUT, "The upload took too long.")
            raise self.refusal from None
        if message["type"] != "http.request":
            self.is_whole = True
            return message
        self.is_whole = not message.get("more_body", False)
        self.taken += len(message.get("body", b""))
        if self.taken > self.limit:
            self.refusal = self._too_large()
            raise self.refusal
        return message

    async def thrown_away(self) -> None:
        """Read on for a while, so that the refusal is seen."""
        try:
            async with asyncio.timeout(REFUSED_SECONDS):
                while not self.is_whole and self.taken <= REFUSED_FACTOR * self.limit:
                    message = await self.receive()
                    self.is_whole = not message.get("more_body", False)
                    self.taken += len(message.get("body", b""))
        except TimeoutError:
            return

    def _too_large(self) -> Refusal:
        size = f"{self.limit // 1024**2} MB" if self.limit >= 1024**2 else f"{self.limit} bytes"
        return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"More than {size}; nothing was stored.")


class Response:
    """What is sent, with the headers of every reply; nothing of it once the body was refused."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.send = send
        self.has_begun = False
        self.new_token: str | None = None
        self.body: RequestBody | None = None

    async def __call__(self, message: Message) -> None:
        """Send a part."""
        if self.body is not None and self.body.refusal is not None and not self.has_begun:
            return
        if message["type"] == "http.response.start":
            self.has_begun = True
            message = {**message, "headers": [*self._kept(message.get("headers", ())), *self._own()]}
        await self.send(message)

    async def refused(self, refusal: Refusal) -> None:
        """Send a refusal."""
        words = str(refusal).encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(words)).encode()),
            (b"connection", b"close"),
            *refusal.headers,
            *self._own(),
        ]
        await self.send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
        is_head = self.scope["method"] == "HEAD"
        await self.send({"type": "http.response.body", "body": b"" if is_head else words})

    def _kept(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Headers of the application, but for those that are the guard's and those that open it to others."""
        own = {name for name, _ in HEADERS} | {b"server", b"cache-control"}
        return [
            (name, value)
            for name, value in headers
            if name.lower() not in own and not name.lower().startswith(b"access-control-")
        ]

    def _own(self) -> list[tuple[bytes, bytes]]:
        is_asset = self.scope["path"].startswith(("/assets/", "/static/"))
        cache = b"private, max-age=86400" if is_asset else b"no-store"
        headers = [*HEADERS, (b"cache-control", cache)]
        if self.new_token is not None:
            cookie = f"{COOKIE}={self.new_token}; Path=/; HttpOnly; SameSite=Strict"
            headers.append((b"set-cookie", cookie.encode()))
        return headers


def headers_of(scope: Scope) -> dict[str, str]:
    """By lower-case name; of several, the first, and of hosts none where they differ."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key == "host" and found.get(key, text) != text:
            found[key] = ""
        found.setdefault(key, text)
    return found
