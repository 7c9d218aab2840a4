"""Orders to gradio's queue, looked at before gradio does: what no page of ours would send is refused."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from monai_brain.app.http import Message, Receive, Refusal, Scope, Send

Check = Callable[[Any], bool]
"""Whether a component can have a value."""

NAME = re.compile(r"\w{1,64}", re.ASCII)
"""Of a session, or an event."""

LARGEST = 1_000_000
"""Of the numbers in an order: indices of slices, files and components."""


class QueueFilter:
    """An ASGI application around gradio's.

    Args:
        app: gradio's.
        checks: of the inputs of each function, by its index.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Any], checks: Mapping[int, Sequence[Check]]) -> None:
        self.app = app
        self.checks = checks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on; of an order only what is known."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        message = self._checked(scope["path"].rstrip("/").rpartition("/")[2], await _whole(receive))
        has_come = False

        async def replay() -> Message:
            nonlocal has_come
            if has_come:
                return await receive()
            has_come = True
            return {"type": "http.request", "body": message, "more_body": False}

        await self.app(scope, replay, send)

    def _checked(self, verb: str, content: bytes) -> bytes:
        """The order, written anew.

        Raises:
            Refusal: it is none.
        """
        try:
            order = json.loads(content, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise Refusal(HTTPStatus.BAD_REQUEST, "This is no JSON.") from None
        wanted = {"join": self._is_join, "cancel": self._is_cancel, "reset": self._is_reset}[verb]
        if not isinstance(order, dict) or not wanted(order):
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "Unexpected request; reload the page.")
        known = ("data", "event_id", "fn_index", "session_hash", "trigger_id")
        return json.dumps({name: order[name] for name in known if order.get(name) is not None}).encode()

    def _is_join(self, order: dict[str, Any]) -> bool:
        data, checks = order.get("data"), self.checks.get(order["fn_index"]) if self._has_function(order) else None
        return (
            checks is not None
            and is_name(order.get("session_hash"))
            and (order.get("trigger_id") is None or is_number(order["trigger_id"]))
            and order.get("event_id") is None
            and isinstance(data, list)
            and len(data) == len(checks)
            and all(check(value) for check, value in zip(checks, data, strict=True))
        )

    def _is_cancel(self, order: dict[str, Any]) -> bool:
        return self._has_function(order) and is_name(order.get("session_hash")) and self._is_reset(order)

    def _is_reset(self, order: dict[str, Any]) -> bool:
        return is_name(order.get("event_id"))

    def _has_function(self, order: dict[str, Any]) -> bool:
        return is_number(order.get("fn_index")) and order["fn_index"] in self.checks


def is_name(value: Any) -> bool:
    """Whether this can name a session or an event."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def is_number(value: Any) -> bool:
    """Whether this is a usual number, not negative."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _no_constant(name: str) -> float:
    raise ValueError(name)  # NaN and infinity are no JSON


async def _whole(receive: Receive) -> bytes:
    content, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Refusal(HTTPStatus.BAD_REQUEST, "The request was incomplete.")
        content, more = content + message.get("body", b""), message.get("more_body", False)
    return content
