"""A server under idle and slow connections, over the loopback interface."""

import contextlib
import http.client
import socket
import threading
import time

import pytest
import uvicorn
from uvicorn.protocols.http import h11_impl

from monai_brain.app.connections import make_protocol


async def hello(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@contextlib.contextmanager
def serving(**options):
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    protocol = make_protocol(h11_impl.H11Protocol, **options)
    server = uvicorn.Server(
        uvicorn.Config(hello, http=protocol, ws="none", log_level="critical", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def ask(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


BEGINNINGS = {
    "idle": b"",
    "half a head": b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
    "slow body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nab",
}


@pytest.mark.bad_input(82)
@pytest.mark.parametrize("kind", BEGINNINGS)
def test_82_connections_that_owe_a_request_lock_nobody_out(kind):
    with serving(connections=20) as port, contextlib.ExitStack() as stack:
        for _ in range(60):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            with contextlib.suppress(ConnectionError):
                slow.sendall(BEGINNINGS[kind])
        assert ask(port) == b"hello"


@pytest.mark.bad_input(82)
def test_82_no_more_connections_stay_open_than_are_allowed():
    with serving(connections=20) as port, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(60)]
        assert ask(port) == b"hello"  # so all of them were taken
        for first in idle[:30]:
            with contextlib.suppress(ConnectionResetError):
                assert first.recv(1) == b""


def test_visitor_with_a_kept_connection_is_served_on_it():
    with serving(connections=20) as port, contextlib.ExitStack() as stack:
        visitor = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for _ in range(3):
            visitor.request("GET", "/")
            assert visitor.getresponse().read() == b"hello"
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        visitor.close()


@pytest.mark.bad_input(82)
def test_82_silent_connection_is_closed():
    with serving(request_seconds=0.2) as port:
        silent = socket.create_connection(("127.0.0.1", port), timeout=10)
        with silent, contextlib.suppress(ConnectionResetError):
            assert silent.recv(1) == b""
