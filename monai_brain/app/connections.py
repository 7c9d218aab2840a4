"""Connections that send nothing, or only half a request: timed out, and the first to go where room is needed."""

import asyncio
from typing import Any

CONNECTIONS = 256
"""At once. A further one takes the place of the oldest that has not sent a whole request."""

REQUEST_SECONDS = 20.0
"""That a connection may take to send the head of its first request."""


def make_protocol(base: type, connections: int = CONNECTIONS, request_seconds: float = REQUEST_SECONDS) -> type:
    """A class for `uvicorn.Config(http=...)` that bounds idle and slow connections.

    Uvicorn itself times out a connection only after its first answer, and answers everybody with 503 once there are
    too many; so a few hundred silent connections would lock everybody out.

    Args:
        base: uvicorn's `H11Protocol`.
        connections: see `CONNECTIONS`.
        request_seconds: see `REQUEST_SECONDS`.
    """

    class BoundedProtocol(base):
        """A connection."""

        unfinished: dict[Any, None] = {}
        """All that owe the server the rest of a request, the oldest first."""

        def connection_made(self, transport: asyncio.Transport) -> None:
            """Take a connection, and close another one where there are too many."""
            super().connection_made(transport)
            self.unfinished[self] = None
            self.deadline = self.loop.call_later(request_seconds, self.close_silent)
            if len(self.connections) > connections:
                oldest = next(iter(self.unfinished))
                del self.unfinished[oldest]  # now: several can come before the loop sees that this one is gone
                oldest.transport.abort()

        def connection_lost(self, error: Exception | None) -> None:
            """Forget a connection."""
            self.deadline.cancel()
            self.unfinished.pop(self, None)
            super().connection_lost(error)

        def handle_events(self) -> None:
            """See what came of a request."""
            super().handle_events()
            if self.cycle is None:
                return
            self.deadline.cancel()  # from here on the guard counts the time of the body
            if not self.cycle.more_body:
                self.unfinished.pop(self, None)

        def on_response_complete(self) -> None:
            """Wait for the next request; uvicorn closes what waits too long."""
            super().on_response_complete()
            if not self.transport.is_closing():
                self.unfinished[self] = None

        def close_silent(self) -> None:
            """Close a connection whose request did not begin in time."""
            self.transport.abort()

    return BoundedProtocol
