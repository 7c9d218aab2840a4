import stat
import zipfile

import cv2
import pytest

from monai_brain.io import UnreadableCase, find_cases, read_case
from monai_brain.io.archive import ArchiveLimits, check_archive, unpack
from tests.conftest import draw_phantom
from tests.io.dicoms import save_series


def zipped(path, members, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def refusal(path, **limits):
    with pytest.raises(UnreadableCase) as caught:
        check_archive(path, ArchiveLimits(**limits))
    return caught.value.code


def test_files_of_an_archive_are_cases_under_its_name(tmp_path):
    png = cv2.imencode(".png", draw_phantom(0, 0))[1].tobytes()
    scans = tmp_path / "scans"
    save_series(tmp_path / "series")
    members = {f"s/{path.name}": path.read_bytes() for path in (tmp_path / "series").iterdir()}
    scans.mkdir()
    zipped(scans / "a.zip", {"one.png": png, "sub/two.png": png, "notes.txt": "x", **members})
    (scans / "b.png").write_bytes(png)
    found = list(find_cases(scans, tmp_path / "temporary"))
    assert [entry.id for entry in found][:2] == ["a.zip/notes.txt", "a.zip/one.png"]
    assert {entry.id for entry in found} >= {"b.png", "a.zip/sub/two.png"}
    (series,) = (entry for entry in found if len(getattr(entry, "files", ())) == 5)
    assert read_case(series).kind == "volume"


@pytest.mark.parametrize(
    "names",
    [
        ["../x.png"],
        ["/etc/x.png"],
        ["a\\..\\x.png"],
        ["C:x.png"],
        ["a.png", "A.PNG"],
        ["a/../../x.png"],
        ["a.png", "./a.png"],
        ["a", "a/b.png"],
    ],
    ids=lambda names: names[0],
)
def test_names_that_lead_elsewhere_or_fall_together_are_refused(tmp_path, names):
    path = zipped(tmp_path / "a.zip", dict.fromkeys(names, b"x"))
    assert refusal(path) == "unsafe_archive"
    with pytest.raises(UnreadableCase):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_is_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.png", b"x" * 100)
    assert refusal(tmp_path / "a.zip") == "unsafe_archive"


def test_one_unusable_archive_is_one_row_with_its_code(tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    zipped(scans / "long.zip", {"\u4e2d" * 90 + ".png": b"x"})
    damaged = zipped(scans / "damaged.zip", {"a.png": bytes(range(256)) * 40})
    content = bytearray(damaged.read_bytes())
    content[60:80] = b"\xff" * 20
    damaged.write_bytes(content)
    (scans / "good.png").write_bytes(cv2.imencode(".png", draw_phantom(0, 0))[1].tobytes())
    found = {entry.id: entry for entry in find_cases(scans, tmp_path / "temporary")}
    assert set(found) == {"long.zip", "damaged.zip", "good.png"}
    for name, code in (("long.zip", "unsafe_archive"), ("damaged.zip", "damaged")):
        with pytest.raises(UnreadableCase) as caught:
            read_case(found[name])
        assert caught.value.code == code


def test_links_and_passwords_are_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert refusal(tmp_path / "link.zip") == "unsafe_archive"
    path = zipped(tmp_path / "secret.zip", {"a.png": b"x" * 20})
    content = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + place] |= 1
    path.write_bytes(content)
    assert refusal(path) == "unsafe_archive"


def test_bombs_are_refused_before_they_are_unpacked(tmp_path):
    path = zipped(tmp_path / "a.zip", {"zeros": b"\0" * 10_000_000})
    assert refusal(path) == "unsafe_archive"
    assert refusal(path, max_bytes=1000) == "too_large"
    many = zipped(tmp_path / "b.zip", {f"{n}.png": b"x" for n in range(30)})
    assert refusal(many, max_members=20) == "unsafe_archive"


def test_damaged_archives_are_rows_with_a_code(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.png": bytes(range(256)) * 40})
    path.write_bytes(path.read_bytes()[:-10])
    (case,) = find_cases(tmp_path, tmp_path.parent / f"{tmp_path.name}_unpacked")
    with pytest.raises(UnreadableCase) as caught:
        read_case(case)
    assert (case.id, caught.value.code) == ("a.zip", "damaged")


def test_archives_in_archives_are_not_opened(tmp_path):
    inner = zipped(tmp_path / "inner.zip", {"a.png": b"x"}).read_bytes()
    (tmp_path / "scans").mkdir()
    zipped(tmp_path / "scans" / "outer.zip", {"inner.zip": inner})
    (case,) = find_cases(tmp_path / "scans", tmp_path / "unpacked")
    assert case.id == "outer.zip/inner.zip"
    with pytest.raises(UnreadableCase, match="the content is zip"):
        read_case(case)
