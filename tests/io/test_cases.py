import os
import socket
import zipfile

import pytest

from monai_brain.io import Case, Skipped, UnreadableCase, find_cases, read_case
from monai_brain.io.cases import InvalidPattern


def found(folder):
    return {entry.id: entry.code if isinstance(entry, Skipped) else entry.kind for entry in find_cases(folder)}


def test_every_file_is_one_case_or_one_skip(tmp_path):
    for name in ("b/2.png", "a/1.jpg", "a/.DS_Store", "a/notes.txt", "no_suffix"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert found(tmp_path) == {
        "no_suffix": "slice",
        "a/1.jpg": "slice",
        "a/.DS_Store": "sidecar",
        "a/notes.txt": "sidecar",
        "b/2.png": "slice",
    }


def test_order_is_stable(tmp_path):
    for name in ("c.png", "a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    assert [entry.id for entry in find_cases(tmp_path)] == ["a.png", "b.png", "c.png"]


@pytest.mark.bad_input(9, 10, 11, 12, 13)
def test_special_files_and_links_are_skipped(tmp_path, monkeypatch):
    folder = tmp_path / "scans"
    (folder / "inside").mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes(b"x")
    (folder / "inside" / "real.png").write_bytes(b"x")
    os.mkfifo(folder / "9_fifo.png")
    monkeypatch.chdir(folder)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("9_socket.png")
    (folder / "10_dangling.png").symlink_to(folder / "nothing")
    (folder / "11_loop.png").symlink_to(folder / "11_loop.png")
    (folder / "11_up").symlink_to(folder)
    (folder / "12_out.png").symlink_to(tmp_path / "outside.png")
    (folder / "within.png").symlink_to(folder / "inside" / "real.png")
    (folder / "13.png").mkdir()
    (folder / "13.png" / "inner.png").write_bytes(b"x")
    assert found(folder) == {
        "9_fifo.png": "special_file",
        "9_socket.png": "special_file",
        "10_dangling.png": "dangling_link",
        "11_loop.png": "link_loop",
        "11_up": "link_loop",
        "12_out.png": "link_out",
        "within.png": "slice",
        "inside/real.png": "slice",
        "13.png": "folder",
        "13.png/inner.png": "slice",
    }


@pytest.mark.bad_input(15, 18)
@pytest.mark.parametrize(
    "name", ["a b.png", "neu\nline.png", "größe.png", "<img onerror=x>.png", "=cmd|x.png", "x" * 251 + ".png"]
)
def test_15_odd_names_are_cases(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    assert [entry.id for entry in find_cases(tmp_path)] == [name]


@pytest.mark.bad_input(17)
def test_17_name_that_is_not_utf8_is_a_case(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    assert len(list(find_cases(tmp_path))) == 1


@pytest.mark.parametrize("name", ["closed", "closed.png"])
def test_folder_that_cannot_be_listed_has_a_row(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    (tmp_path / "a.png").write_bytes(b"x")
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith(name):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert found(tmp_path) == {"a.png": "slice", name: "unreadable_folder"}
    assert len(list(find_cases(tmp_path))) == 2


def test_single_file_is_its_own_case(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    assert list(find_cases(tmp_path / "a.png")) == [Case("a.png", (tmp_path / "a.png",), "slice")]


def test_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        list(find_cases(tmp_path / "nowhere"))


@pytest.fixture
def nested(tmp_path):
    for name in ("a.png", "b.jpg", "notes.txt", "flair/a.png", "flair/deep/c.png", "t1/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        archive.writestr("inner/d.png", "x")
        archive.writestr("e.jpg", "x")
    return tmp_path


def chosen(folder, **options):
    return {entry.id for entry in find_cases(folder, folder.parent / f"{folder.name}_unpacked", **options)}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"glob": "*.png"}, {"a.png", "flair/a.png", "flair/deep/c.png", "t1/a.png"}),
        ({"glob": "flair/*.png"}, {"flair/a.png"}),
        ({"glob": "*.PNG"}, set()),
        ({"glob": "*.zip"}, {"scans.zip/inner/d.png", "scans.zip/e.jpg"}),
        ({"recursive": False}, {"a.png", "b.jpg", "notes.txt", "scans.zip/inner/d.png", "scans.zip/e.jpg"}),
        ({"recursive": False, "glob": "*.png"}, {"a.png"}),
    ],
)
def test_pattern_and_depth_choose_files(nested, options, expected):
    assert chosen(nested, **options) == expected


@pytest.mark.parametrize("glob", ["", "/a/*.png", "../*.png", "**/*.png"])
def test_pattern_that_makes_no_sense_is_refused(nested, glob):
    with pytest.raises(InvalidPattern, match=r"expected one such as \*\.png"):
        list(find_cases(nested, glob=glob))


@pytest.mark.parametrize("options", [{"glob": "*.png"}, {"recursive": False}])
def test_pattern_and_depth_are_for_folders(nested, options):
    with pytest.raises(InvalidPattern, match="are for folders"):
        list(find_cases(nested / "a.png", **options))


@pytest.mark.bad_input(74)
def test_74_litter_of_systems_and_tools_is_skipped_whole_also_in_archives(tmp_path):
    scans, litter = (
        tmp_path / "scans",
        ("@eaDir/a.jpg/THUMB.jpg", "sub/.ipynb_checkpoints/a-checkpoint.jpg", ".git/x/y"),
    )
    files = ("a.jpg", "._a.jpg", "sub/b.jpg", "Thumbs.db", "lost+found/c.png", "$RECYCLE.BIN/d.png", *litter)
    for name in files:
        (scans / name).parent.mkdir(parents=True, exist_ok=True)
        (scans / name).write_bytes(b"x")
    with zipfile.ZipFile(scans / "x.zip", "w") as archive:
        for name in ("s/a.dcm", "__MACOSX/s/._a.dcm", "s/.DS_Store"):
            archive.writestr(name, b"x")
    found = list(find_cases(scans, tmp_path / "unpacked"))
    assert {entry.id for entry in found if isinstance(entry, Case)} == {"a.jpg", "sub/b.jpg", "x.zip/s/a.dcm"}
    assert {entry.id: entry.code for entry in found if isinstance(entry, Skipped)} == dict.fromkeys(
        (
            *("._a.jpg", "Thumbs.db", "@eaDir", "sub/.ipynb_checkpoints", ".git", "lost+found", "$RECYCLE.BIN"),
            *("x.zip/__MACOSX", "x.zip/s/.DS_Store"),
        ),
        "sidecar",
    )


@pytest.mark.bad_input(81)
def test_81_links_out_of_the_folder_are_followed_on_request_once_and_without_end(tmp_path):
    scans, archive = tmp_path / "scans", tmp_path / "archive"
    (archive / "patient").mkdir(parents=True)
    for name in ("a.png", "patient/b.png"):
        (archive / name).write_bytes(b"x")
    scans.mkdir()
    (scans / "a.png").symlink_to(archive / "a.png")
    (scans / "patient").symlink_to(archive / "patient")
    (scans / "again").symlink_to(archive / "patient")
    (archive / "patient" / "back").symlink_to(archive)
    (archive / "patient" / "loop").symlink_to(scans)
    (scans / "gone.png").symlink_to(archive / "gone.png")
    assert not [entry for entry in find_cases(scans) if isinstance(entry, Case)]
    assert found(scans)["a.png"] == "link_out"
    followed = list(find_cases(scans, follow_links=True))
    assert {entry.id for entry in followed if isinstance(entry, Case)} == {"a.png", "again/b.png"}
    codes = {entry.id: entry.code for entry in followed if isinstance(entry, Skipped)}
    assert (codes["gone.png"], codes["patient"]) == ("dangling_link", "linked_folder")
    assert set(codes) == {"gone.png", "patient", "again/back", "again/loop"}


@pytest.mark.bad_input(21)
def test_file_that_became_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "scan.png")
    with pytest.raises(UnreadableCase) as caught:
        read_case(Case("scan.png", (tmp_path / "scan.png",), "slice"))
    assert caught.value.code == "changed"
