"""The guard, asked directly: who may ask, what for, and how much."""

import asyncio
import base64

import pytest

from monai_brain.app.guard import FAILURES, Guard, PasswordNeeded
from monai_brain.app.http import COOKIE, HEADERS, Refusal

TOKEN = "a" * 43
LIMIT = 1000


async def echo(scope, receive, send):
    """Answers with the size of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    headers = [(b"access-control-allow-origin", b"*"), (b"server", b"x"), (b"x-frame-options", b"ALLOWALL")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": str(size).encode()})


async def failing(scope, receive, send):
    raise FileNotFoundError("/secret/place")


async def swallowing(scope, receive, send):
    """As frameworks do: makes an answer of its own of whatever fails."""
    try:
        await echo(scope, receive, send)
    except Refusal:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"oops"})


async def request(guard, path="/", method="GET", chunks=(b"",), query=b"", client="127.0.0.1", **headers):
    headers = {"host": "127.0.0.1:7860", "cookie": f"{COOKIE}={TOKEN}", **headers}
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": number + 1 < len(chunks)}
        for number, chunk in enumerate(chunks)
    ]
    sent = []

    async def receive():
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    listed = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items() if value is not None]
    scope = {"type": "http", "method": method, "path": path, "headers": listed, "client": (client, 1)} | {
        "query_string": query
    }
    await guard(scope, receive, send)
    starts = [message for message in sent if message["type"] == "http.response.start"]
    assert len(starts) == 1
    body = b"".join(message.get("body", b"") for message in sent)
    return starts[0]["status"], starts[0]["headers"], body


def ask(*args, app=echo, options=None, **keywords):
    async def run():
        return await request(Guard(app, **{"max_upload_bytes": LIMIT, **(options or {})}), *args, **keywords)

    return asyncio.run(run())


def test_every_reply_has_the_headers_once_and_opens_nothing_to_others():
    for path in ("/", "/nowhere"):
        _, headers, _ = ask(path)
        names = [name for name, _ in headers]
        assert all(pair in headers for pair in HEADERS)
        assert len(names) == len(set(names))
        assert b"access-control-allow-origin" not in names
        assert b"server" not in names


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "localhost"])
def test_own_names_are_served(host):
    assert ask(host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:7860", "", "evil.example@127.0.0.1:x", None])
def test_foreign_host_is_refused(host):
    assert ask(host=host)[0] == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "file://127.0.0.1:7860"])
def test_foreign_origin_is_refused(origin):
    assert ask("/gradio_api/queue/join", "POST", origin=origin)[0] == 403


def test_own_origin_is_served_and_another_site_is_not():
    assert ask("/gradio_api/queue/join", "POST", origin="http://127.0.0.1:7860")[0] == 200
    assert ask(sec_fetch_site="cross-site", sec_fetch_mode="no-cors")[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/upload",
        "/gradio_api/proxy=http://x",
        "/assets/../secret",
        "/gradio_api/info",
        "/docs",
        "/monitoring",
    ],
)
def test_what_the_page_does_not_need_does_not_exist(path):
    assert ask(path)[0] == 404
    assert ask(path, "POST")[0] == 404


def test_other_methods_are_refused():
    assert ask(method="DELETE")[0] == 405


def test_announced_body_above_the_limit_gets_413_before_it_is_read():
    assert ask("/uploads/a", "POST", content_length=str(LIMIT + 1))[0] == 413


@pytest.mark.parametrize("app", [echo, swallowing])
def test_streamed_body_above_the_limit_gets_413(app):
    status, _, body = ask("/uploads/a", "POST", [b"x" * 600] * 2, app=app)
    assert (status, b"oops" in body) == (413, False)
    assert ask("/uploads/a", "POST", [b"x" * 500] * 2, app=app)[::2] == (200, b"1000")


def test_body_that_does_not_arrive_gets_408():
    async def run():
        guard = Guard(echo, upload_seconds=0.05)

        async def never():
            await asyncio.sleep(60)

        sent = []

        async def send(message):
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"cookie", f"{COOKIE}={TOKEN}".encode())]
        scope = {"type": "http", "method": "POST", "path": "/uploads/a", "headers": headers}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("monai_brain.app.http.REFUSED_SECONDS", 0.05)
            await guard(scope, never, send)
        return sent[0]["status"]

    assert asyncio.run(run()) == 408


def test_uploads_beyond_the_number_at_once_get_503():
    async def run():
        gate = asyncio.Event()

        async def slow(scope, receive, send):
            await gate.wait()
            await echo(scope, receive, send)

        guard = Guard(slow, uploads_at_once=2)
        asked = [asyncio.create_task(request(guard, "/uploads/a", "POST")) for _ in range(5)]
        await asyncio.sleep(0.05)
        gate.set()
        first = [status for status, _, _ in await asyncio.gather(*asked)]
        return first, (await request(guard, "/uploads/a", "POST"))[0]

    assert asyncio.run(run()) == ([200, 200, 503, 503, 503], 200)


def test_full_store_gets_503():
    assert ask("/uploads/a", "POST", options={"has_room": lambda: False})[0] == 503


def test_upload_without_having_seen_the_page_is_refused_and_the_page_gives_a_cookie():
    assert ask("/uploads/a", "POST", cookie=None)[0] == 403
    cookies = [value.decode() for name, value in ask(cookie=None)[1] if name == b"set-cookie"]
    assert len(cookies) == 1
    assert "HttpOnly" in cookies[0]
    assert "SameSite=Strict" in cookies[0]
    assert not [name for name, _ in ask()[1] if name == b"set-cookie"]


def test_failure_inside_names_nothing():
    status, _, body = ask(app=failing)
    assert status == 500
    assert b"secret" not in body


def test_address_of_others_wants_a_password():
    for password in (None, "", "short"):
        with pytest.raises(PasswordNeeded):
            Guard(echo, host="0.0.0.0", password=password)
    Guard(echo, host="0.0.0.0", password="long enough")


def test_page_behind_a_proxy_is_served_under_its_public_name_and_no_other():
    options = {"password": "long enough", "public_name": "MRI.hospital.example"}
    allowed = {"authorization": basic("long enough")}
    origin = "https://mri.hospital.example"
    for host in ("mri.hospital.example", "127.0.0.1:7860"):  # kept by the proxy, or replaced
        assert ask("/gradio_api/queue/join", "POST", options=options, host=host, origin=origin, **allowed)[0] == 200
    for host, origin in (("evil.example", "https://evil.example"), ("mri.hospital.example", "https://evil.example")):
        assert ask("/gradio_api/queue/join", "POST", options=options, host=host, origin=origin, **allowed)[0] == 403
    with pytest.raises(PasswordNeeded, match=r"MRI\.hospital"):
        Guard(echo, public_name="MRI.hospital.example")


def basic(password):
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


def test_password_is_asked_for():
    options = {"host": "0.0.0.0", "password": "long enough"}
    status, headers, _ = ask(options=options)
    assert status == 401
    assert b"www-authenticate" in dict(headers)
    assert ask(options=options, authorization=basic("wrong one"))[0] == 401
    assert ask(options=options, authorization="Basic ***")[0] == 401
    assert ask(options=options, authorization=basic("long enough"))[0] == 200
    assert ask(options=options, authorization=basic("long enough"), host="10.0.0.7:7860")[0] == 200
    assert ask(options=options, authorization=basic("long enough"), host="evil.example")[0] == 403


def test_guessing_passwords_is_stopped():
    async def run():
        guard = Guard(echo, password="long enough")
        for _ in range(FAILURES):
            await request(guard, authorization=basic("wrong one"))
        return (await request(guard, authorization=basic("long enough")))[0]

    assert asyncio.run(run()) == 429


@pytest.mark.bad_input(83)
@pytest.mark.parametrize(
    ("options", "others"),
    [
        ({}, {"client": "10.0.0.2"}),
        ({"public_name": "mri.example"}, {"x_forwarded_for": "1.2.3.4, 10.0.0.2", "host": "mri.example"}),
    ],
)
def test_83_guessing_locks_out_the_address_that_guesses_and_no_other(options, others):
    async def run():
        guard = Guard(echo, password="long enough", **options)
        guesser = {name: value for name, value in others.items() if name == "host"}
        for _ in range(FAILURES):
            await request(guard, authorization=basic("wrong one"), **guesser)
        right = {"authorization": basic("long enough")}
        return (await request(guard, **right, **guesser))[0], (await request(guard, **right, **others))[0]

    assert asyncio.run(run()) == (429, 200)


@pytest.mark.bad_input(83)
def test_83_without_a_proxy_nobody_names_the_own_address():
    async def run():
        guard = Guard(echo, password="long enough")
        for number in range(FAILURES):
            await request(guard, authorization=basic("wrong one"), x_forwarded_for=f"10.0.0.{number}")
        return (await request(guard, authorization=basic("long enough")))[0]

    assert asyncio.run(run()) == 429


@pytest.mark.bad_input(84)
def test_84_answers_belong_to_the_cookie_that_asked_first():
    async def run():
        guard = Guard(echo)
        place = {"path": "/gradio_api/queue/data", "query": b"session_hash=abc"}
        other = {"cookie": f"{COOKIE}={'b' * 43}"}
        return [(await request(guard, **place, **cookie))[0] for cookie in ({}, other, {})]

    assert asyncio.run(run()) == [200, 404, 200]
