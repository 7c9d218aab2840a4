"""Where uploads lie: each visitor's own, named safely, bounded, and gone after use."""

import asyncio

import pytest

from monai_brain.app.http import COOKIE, Refusal
from monai_brain.app.uploads import LONGEST_NAME_BYTES, Uploads, safe_name

ME, OTHER = "m" * 43, "o" * 43


@pytest.fixture
def uploads(tmp_path):
    return Uploads(tmp_path, max_bytes=100, max_bytes_kept=300)


def send_file(uploads, name, content=b"x", group="g", visitor=ME):
    async def run():
        chunks = [content[:50], content[50:]]

        async def receive():
            return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

        async def send(message):
            pass

        headers = [(b"cookie", f"{COOKIE}={visitor}".encode()), (b"x-file-name", name.encode())]
        await uploads.receive_file({"path": f"/uploads/{group}", "headers": headers}, receive, send)

    asyncio.run(run())


def test_file_is_found_by_its_own_visitor_only(uploads):
    send_file(uploads, "a.png", b"x" * 80)
    assert (uploads.group(ME, "g") / "files" / "a.png").read_bytes() == b"x" * 80
    assert uploads.group(OTHER, "g") is None
    assert uploads.group(ME, "other") is None


@pytest.mark.parametrize("name", ["..%2F..%2Fevil.png", "%2Fetc%2Fevil.png", "C%3A%5Cevil.png", "..", ".", "", "%00"])
def test_name_leads_nowhere_else(uploads, tmp_path, name):
    send_file(uploads, name)
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert path.parent == uploads.group(ME, "g") / "files"


def test_files_of_a_group_are_bounded_together_and_nothing_is_kept(uploads, tmp_path):
    send_file(uploads, "a", b"x" * 60)
    with pytest.raises(Refusal) as caught:
        send_file(uploads, "b", b"x" * 60)
    assert caught.value.status == 413
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert uploads.group(ME, "g") is None


def test_room_ends_and_comes_back_when_nobody_looks(uploads):
    for group in "abc":
        assert uploads.has_room()
        send_file(uploads, "a", b"x" * 100, group)
    assert not uploads.has_room()
    uploads.sweep(idle_seconds=-1)
    assert uploads.has_room()


def test_new_upload_replaces_a_visitors_own_and_no_other(uploads):
    for visitor, group in ((ME, "a"), (ME, "b"), (OTHER, "a")):
        send_file(uploads, "a", group=group, visitor=visitor)
    uploads.remove_others(ME, "b")
    assert uploads.group(ME, "a") is None
    assert uploads.group(ME, "b")
    assert uploads.group(OTHER, "a")


def test_same_name_twice_is_refused(uploads):
    send_file(uploads, "a")
    with pytest.raises(Refusal) as caught:
        send_file(uploads, "a")
    assert caught.value.status == 409


def test_names_keep_their_suffix_and_markup_and_lose_control_characters():
    assert safe_name("<img onerror=x>.png") == "<img onerror=x>.png"
    assert safe_name("a\nb\u202e.png") == "a_b_.png"
    long = safe_name("ä" * 300 + ".nii.gz")
    assert long.endswith(".nii.gz")
    assert len(long.encode()) <= LONGEST_NAME_BYTES
