import json
import shutil

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.data.splits import PARTS
from monai_brain.io.write import write_png
from monai_brain.labels import CLASS_NAMES


def texture(seed):
    """A picture like no other one."""
    coarse = np.random.default_rng(seed).integers(0, 200, (8, 8), dtype=np.uint8)
    return cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def public_layout(tmp_path):
    """Training and Testing with class folders of eight pictures each."""
    folder = tmp_path / "set"
    for number, name in enumerate(CLASS_NAMES):
        for place in range(8):
            part = "Testing" if place > 5 else "Training"
            write_png(folder / part / name / f"{place}.png", texture(100 * number + place))
    return folder


def run(*words):
    result = CliRunner().invoke(app, ["audit", *map(str, words), "--workers", "1"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def read(output):
    return json.loads((output / "audit.json").read_text(encoding="utf-8"))


def test_clean_set_has_no_findings(public_layout, tmp_path):
    result = run(public_layout, "-o", tmp_path / "out")
    found = read(tmp_path / "out")
    assert (result.exit_code, found["leaks"], found["conflicts"]) == (0, 0, [])
    assert found["pictures"] == found["copies"]["distinct_pictures"] == 32
    assert set(found["shortcuts"]["baselines"]) >= {"majority class", "nearest thumbnail"}


def test_mirrored_copy_in_the_test_part_is_a_leak_and_another_class_a_conflict(public_layout, tmp_path):
    mirrored = np.ascontiguousarray(texture(0)[:, ::-1])
    write_png(public_layout / "Testing" / "pituitary" / "<b>&mirrored.png", mirrored)
    result = run(public_layout, "-o", tmp_path / "out")
    found = read(tmp_path / "out")
    assert (result.exit_code, found["leaks"], found["copies"]["pairs_mirrored"]) == (3, 1, 1)
    assert found["conflicts"][0]["classes"] == ["pituitary", "glioma"]
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;mirrored.png" in page and "<b>&mirrored" not in page
    assert len(list((tmp_path / "out" / "pictures").glob("*.png"))) == 1


def test_copies_within_one_part_are_no_leak(public_layout, tmp_path):
    write_png(public_layout / "Training" / "glioma" / "again.png", np.rot90(texture(0)).copy())
    result = run(public_layout, "-o", tmp_path / "out")
    found = read(tmp_path / "out")
    assert (result.exit_code, found["leaks"], found["copies"]["pairs_turned"]) == (0, 0, 1)


def test_another_set_is_compared_with_the_first_and_not_with_itself(public_layout, tmp_path):
    other = tmp_path / "other"
    write_png(other / "a.png", texture(0))
    write_png(other / "b.png", texture(900))
    write_png(other / "c.png", texture(900))
    result = run(public_layout, "--against", other, "-o", tmp_path / "out")
    found = read(tmp_path / "out")
    assert result.exit_code == 3
    assert [(row["pairs"], row["sets"]) for row in found["between"]] == [(1, True)]


def test_datalists_are_audited_and_unreadable_pictures_named(public_layout, tmp_path):
    (public_layout / "broken.png").write_bytes(b"")
    items = {"training": ["Training/glioma/0.png", "broken.png"], "test": ["Training/glioma/0.png"]}
    content = {part: [{"image": image, "label": 0} for image in images] for part, images in items.items()}
    (tmp_path / "list.json").write_text(json.dumps(content))
    result = run(tmp_path / "list.json", "--dataset-dir", public_layout, "-o", tmp_path / "out")
    found = read(tmp_path / "out")
    assert (result.exit_code, found["leaks"]) == (3, 1)
    assert list(found["unreadable"].values()) == ["empty_file"]


def test_split_leaves_copies_out_and_keeps_look_alikes_together(public_layout, tmp_path):
    for place in range(3):
        write_png(public_layout / "Training" / "glioma" / f"copy{place}.png", texture(0)[:, ::-1].copy())
    run(public_layout, "-o", tmp_path / "out", "--split-to", tmp_path / "split.json")
    split = json.loads((tmp_path / "split.json").read_text(encoding="utf-8"))
    images = [item["image"] for part in PARTS for item in split[part]]
    assert len(images) == len(set(images)) == 32
    assert all(split[part] for part in PARTS)


def test_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(app, ["audit", str(tmp_path / "empty"), "-o", str(tmp_path / "out")])
    assert "no picture here" in str(result.exception)


@pytest.fixture
def own_layout(public_layout):
    """The same pictures in folders of other classes."""
    for part in ("Training", "Testing"):
        for old, new in (("glioma", "b"), ("meningioma", "a")):
            (public_layout / part / old).rename(public_layout / part / new)
    return public_layout


def test_own_classes_are_split_in_their_order(own_layout, tmp_path):
    for name in ("notumor", "pituitary"):
        for part in ("Training", "Testing"):
            shutil.rmtree(own_layout / part / name)
    run(own_layout, "--classes", "b,a", "-o", tmp_path / "out", "--split-to", tmp_path / "split.json")
    split = json.loads((tmp_path / "split.json").read_text(encoding="utf-8"))
    assert split["class_names"] == ["b", "a"]
    labels = {(item["image"].split("/")[1], item["label"]) for part in PARTS for item in split[part]}
    assert labels == {("b", 0), ("a", 1)}


def test_copies_under_two_classes_are_known_by_name_and_not_by_index(own_layout, tmp_path):
    for name, class_names in (("one", ["b", "a"]), ("other", ["a", "b"])):
        items = [{"image": "Training/b/0.png", "label": class_names.index("b")}]
        items += [{"image": "Training/a/0.png", "label": 0}]
        content = {"class_names": class_names, "training": items}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    words = [tmp_path / "one.json", "--against", tmp_path / "other.json", "--dataset-dir", own_layout]
    run(*words, "-o", tmp_path / "out")
    assert [sorted(own["classes"]) for own in read(tmp_path / "out")["conflicts"]] == [["a", "b"]]
