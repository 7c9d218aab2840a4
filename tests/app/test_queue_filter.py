"""Malformed orders to the page, as served, with gradio behind the guard."""

import contextlib
import http.client
import json
import re
import socket
import threading
import time

import fastapi
import numpy as np
import pytest
import uvicorn

from monai_brain.app import page as pages
from monai_brain.app.analysis import Analyzer
from monai_brain.app.guard import UPLOADS, Guard
from monai_brain.app.http import COOKIE
from monai_brain.app.queue_filter import QueueFilter
from monai_brain.app.uploads import Uploads
from monai_brain.inference.prediction import Prediction
from monai_brain.inference.session import Result

GROUP = "a" * 32
JOIN, CANCEL, RESET = (f"/gradio_api/{name}" for name in ("queue/join", "cancel", "reset"))


class Gray:
    """A session that finds nothing in a gray slice."""

    methods = ("gradcam",)

    def predict(self, case, output, method, progress):
        gray = np.zeros((2, 2), np.uint8)
        return Result(
            Prediction(case.id, "ok", values={"tumor_pixels": 0}),
            "slice",
            (0,),
            (gray,),
            (),
            (gray > 0,),
            None,
            0,
            output,
        )


class Page:
    def __init__(self, port, folder):
        self.port, self.folder = port, folder
        reply = self.ask("GET", "/")
        self.cookie = re.search(rf"{COOKIE}=[\w-]+", reply[1]["set-cookie"])[0]

    def ask(self, method, path, body=b"", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            if hasattr(self, "cookie"):
                named["cookie"] = self.cookie
            connection.request(method, path, body, {"content-type": "application/json", **named})
            reply = connection.getresponse()
            return reply.status, reply.headers, b"" if "event-stream" in str(reply.headers) else reply.read()

    def post(self, path, value):
        return self.ask("POST", path, value if isinstance(value, bytes) else json.dumps(value).encode())[0]

    def answer(self, order):
        """What comes out of an order that was taken."""
        assert self.post(JOIN, order) == 200
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            path = f"/gradio_api/queue/data?session_hash={order['session_hash']}"
            connection.request("GET", path, headers={"cookie": self.cookie})
            for line in connection.getresponse():
                if b'"process_completed"' in line:
                    return json.loads(line.removeprefix(b"data: "))
        raise AssertionError("the stream ended without an answer")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    uploads = Uploads(folder / "uploads", 10**6, 10**7)
    blocks = pages.build_page(Analyzer({"one": Gray(), "other": Gray()}, uploads), [], 1)
    inner = QueueFilter(pages.mount(fastapi.FastAPI(), blocks, "127.0.0.1"), pages.checks_of(blocks))

    async def app(scope, receive, send):
        is_upload = scope["type"] == "http" and scope["path"].startswith(UPLOADS)
        await (uploads.receive_file if is_upload else inner)(scope, receive, send)

    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Guard(app), ws="none", log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield Page(bound.getsockname()[1], folder)
    finally:
        server.should_exit = True
        thread.join()


def order(**changed):
    data = [json.dumps({"upload": GROUP, "number": "1"}), "one", "gradcam"]
    return {"data": data, "fn_index": 0, "session_hash": "abc123", "trigger_id": 2, "event_data": None, **changed}


def data(*values):
    return order(data=list(values))


def test_order_of_the_page_is_answered(page):
    assert page.ask("POST", f"{UPLOADS}{GROUP}", b"x", X_File_Name="scan.png")[0] == 200
    found = page.answer(order(session_hash="whole"))
    assert found["success"], found
    assert "scan.png" in json.dumps(found["output"])


HUGE = 10**400
GOOD = json.dumps({"upload": GROUP})

BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"data": "\xff\xfe"}',
    "deep": b"[" * 100_000,
    "NaN": json.dumps(order(fn_index=float("nan"))).encode(),
    "infinite": b'{"data": [null, 1e999], "fn_index": 4, "session_hash": "abc"}',
    "number of many digits": b'{"fn_index": ' + b"9" * 5000 + b"}",
    "list": [],
    "text": "join",
    "null": None,
    "empty": {},
    "no data": order(data=None),
    "data that is text": order(data="abc"),
    "data that is an object": order(data={"0": 1}),
    "too little data": data(GOOD),
    "too much data": data(GOOD, "one", "gradcam", 1),
    "unknown function": order(fn_index=99),
    "negative function": order(fn_index=-1),
    "huge function": order(fn_index=HUGE),
    "function that is text": order(fn_index="0"),
    "function that is true": order(fn_index=True),
    "no function": order(fn_index=None),
    "no session": order(session_hash=None),
    "empty session": order(session_hash=""),
    "session that is a number": order(session_hash=7),
    "session that is a path": order(session_hash="../../etc/passwd"),
    "session with half a character": order(session_hash="\ud800"),
    "long session": order(session_hash="a" * 1000),
    "event of somebody": order(event_id="abc"),
    "huge trigger": order(trigger_id=HUGE),
    "trigger that is a list": order(trigger_id=[1]),
    "order that is a number": data(5, "one", "gradcam"),
    "order that is no JSON": data("{", "one", "gradcam"),
    "order that is a list": data("[1]", "one", "gradcam"),
    "order of nothing": data("{}", "one", "gradcam"),
    "upload that is a path": data(json.dumps({"upload": "../../etc"}), "one", "gradcam"),
    "upload that is a list": data(json.dumps({"upload": [1]}), "one", "gradcam"),
    "huge example": data('{"example": ' + "9" * 400 + "}", "one", "gradcam"),
    "example that is NaN": data('{"example": NaN}', "one", "gradcam"),
    "unknown bundle": data(GOOD, "../one", "gradcam"),
    "bundle that is a list": data(GOOD, ["one"], "gradcam"),
    "unknown method": data(GOOD, "one", "rm"),
    "state of the visitor's own": order(fn_index=1, data=[{"group": GROUP, "names": ["x"]}, "one"]),
    "negative file": order(fn_index=2, data=[None, -1, "one", "gradcam"]),
    "huge file": order(fn_index=2, data=[None, HUGE, "one", "gradcam"]),
    "half a file": order(fn_index=2, data=[None, 0.5, "one", "gradcam"]),
    "slice that is text": order(fn_index=4, data=[None, "1"]),
    "huge slice": order(fn_index=4, data=[None, HUGE]),
}


@pytest.mark.bad_input(100)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_86_malformed_order_is_refused_without_a_traceback(page, capfd, body):
    assert 400 <= page.post(JOIN, body) < 500
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.bad_input(100)
@pytest.mark.parametrize("path", [CANCEL, RESET])
@pytest.mark.parametrize(
    "body",
    [b"{", [], {}, {"event_id": 5}, {"event_id": "../x", "session_hash": "a", "fn_index": 0}, {"fn_index": HUGE}],
)
def test_86_malformed_cancellation_is_refused_without_a_traceback(page, capfd, path, body):
    assert 400 <= page.post(path, body) < 500
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.bad_input(100)
@pytest.mark.parametrize(
    "query", ["", "?session_hash=", "?session_hash=unknown", "?session_hash=../../etc", "?session_hash=%ff"]
)
def test_86_stream_of_no_session_leaves_no_traceback(page, capfd, query):
    assert page.ask("GET", f"/gradio_api/queue/data{query}")[0] in (200, 404, 422)
    time.sleep(0.1)
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.bad_input(100)
@pytest.mark.parametrize(
    "changed",
    [{"fn_index": 2, "data": [None, 499, "one", "gradcam"]}, {"fn_index": 4, "data": [None, 999_999]}],
    ids=["file that is not there", "slice that is not there"],
)
def test_86_value_that_this_visitor_has_no_choice_of_leaves_no_traceback(page, capfd, changed):
    assert not page.answer(order(session_hash=f"choice{changed['fn_index']}", **changed))["success"]
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.bad_input(100)
@pytest.mark.parametrize(
    "name",
    ["../../../up.png", "..%2f..%2fup.png", "%2Fetc%2Fpasswd", "..", "..\\up.png", "a%00b", "%ff%fe", "x" * 5000, ""],
)
def test_86_file_name_leads_nowhere_else(page, name):
    before = {path for path in page.folder.rglob("*") if path.is_file()}
    group = f"{abs(hash(name)):032x}"
    status, _, body = page.ask("POST", f"{UPLOADS}{group}", b"x", X_File_Name=name)
    new = {path for path in page.folder.rglob("*") if path.is_file()} - before
    assert status == 200
    assert [path.name for path in new] == [json.loads(body)["name"]]
    assert all(path.parent.name == "files" and path.is_relative_to(page.folder / "uploads") for path in new)


@pytest.mark.bad_input(100)
@pytest.mark.parametrize("path", ["../../etc/passwd", "a/b", "%2e%2e%2fx", "a" * 65, ""])
def test_86_upload_to_a_path_is_refused(page, path):
    assert page.ask("POST", f"{UPLOADS}{path}", b"x", X_File_Name="scan.png")[0] == 404
