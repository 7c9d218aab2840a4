import csv
import errno
import json
import os

import cv2
import numpy as np
import pytest

from monai_brain.io.write import atomic, write_csv, write_json, write_png


def test_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as file:
        file.write("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_have_the_rights_that_the_user_gives_new_ones(tmp_path, mask):
    before = os.umask(mask)
    try:
        with atomic(tmp_path / "table.csv") as file:
            file.write("x")
    finally:
        assert os.umask(before) == mask
    assert (tmp_path / "table.csv").stat().st_mode & 0o777 == 0o666 & ~mask


def test_full_disk_is_said_with_the_name_of_the_file(tmp_path):
    with pytest.raises(OSError, match="table"), atomic(tmp_path / "table.csv"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.bad_input(16)
def test_16_formulas_are_neutralized(tmp_path):
    write_csv(tmp_path / "t.csv", ["path", "p"], [{"path": "=cmd|' /C calc'!A0", "p": -0.5}, {"path": "a,b", "p": 1}])
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["path", "p"], ["'=cmd|' /C calc'!A0", "-0.5"], ["a,b", "1"]]


@pytest.mark.bad_input(72)
@pytest.mark.parametrize("line_break", list("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029") + ["\r\n"])
def test_72_a_line_break_makes_no_second_row_and_hides_no_formula(tmp_path, line_break):
    pandas = pytest.importorskip("pandas")
    name = f"a{line_break}=1,b"
    write_csv(tmp_path / "t.csv", ["path", "p"], [{"path": name, "p": 1}, {"path": "c", "p": 2}])
    expected = [["path", "p"], [f"a{line_break}'=1,b", "1"], ["c", "2"]]
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == expected
    read = pandas.read_csv(tmp_path / "t.csv", dtype=str, lineterminator="\n" if line_break == "\r" else None)
    assert read.to_numpy().tolist() == expected[1:]
    assert b'"a' in (tmp_path / "t.csv").read_bytes()


@pytest.mark.bad_input(73)
@pytest.mark.parametrize("sign", ["\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_73_full_width_signs_are_formulas_too(tmp_path, sign):
    write_csv(tmp_path / "t.csv", ["path"], [{"path": f"{sign}cmd"}])
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1] == [f"'{sign}cmd"]


def test_unknown_column_is_refused_and_a_missing_one_is_empty(tmp_path):
    write_csv(tmp_path / "t.csv", ["a", "b"], [{"a": 'say "x"'}, {"a": None, "b": 0}])
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"], ['say "x"', ""], ["", "0"]]
    with pytest.raises(ValueError, match="not in the header"):
        write_csv(tmp_path / "u.csv", ["a"], [{"c": 1}])


def test_negative_numbers_that_were_rounded_to_text_stay_numbers(tmp_path):
    write_csv(tmp_path / "t.csv", ["p"], [{"p": "-0.050"}, {"p": "-1+1"}, {"p": "-2\n"}, {"p": "-cmd"}])
    with (tmp_path / "t.csv").open(newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["p", "-0.050", "'-1+1", "'-2\n", "'-cmd"]


def test_nan_never_reaches_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"value": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_json_keeps_unicode(tmp_path):
    write_json(tmp_path / "x.json", {"name": "größe"})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"name": "größe"}


def test_png_comes_back_in_color(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    write_png(tmp_path / "a" / "x.png", image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a" / "x.png"))[..., ::-1], image)
