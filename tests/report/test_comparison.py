import cv2
import numpy as np
import pytest

from monai_brain.io.write import write_json
from monai_brain.report.comparison import COLUMNS, Run, RunsDiffer, comparison_tables, curves, read_run
from monai_brain.report.figures import draw_score_bars

BASELINE = "1-nearest-neighbor on thumbnails"


def run(name, part, nearest, right, neighbor_right):
    row = {**dict.fromkeys(COLUMNS, 0.5), "network": name, "seed": 0}
    metrics = {"model": {"images": 4}, "nearest_neighbor": {"macro_f1": nearest, "accuracy": nearest}}
    sides = (np.array(right, bool), np.array(neighbor_right, bool))
    return Run(name, 0, row, metrics, [], *sides, ["a"] * 4, part, "0", {})


RUNS = [
    run("cnn", "training", 0.25, [1, 1, 1, 0], [1, 0, 0, 0]),
    run("vgg16", "training", 0.25, [1, 1, 0, 0], [1, 0, 0, 0]),
    run("cnn, trained on both", "training+validation", 0.75, [1, 1, 1, 1], [1, 1, 1, 0]),
]


def test_every_part_that_was_trained_on_has_its_baseline():
    rows = comparison_tables(RUNS)[0].rows
    found = {row[0]: row[list(COLUMNS).index("macro_f1")] for row in rows[3:]}
    assert found == {BASELINE: "0.2500", f"{BASELINE}, trained on training+validation": "0.7500"}


def test_runs_are_paired_with_their_own_baseline():
    pairs = [row[:4] for row in comparison_tables(RUNS)[1].rows if "neighbor" in row[1]]
    assert pairs == [
        ["cnn, seed 0", BASELINE, "2", "0"],
        ["vgg16, seed 0", BASELINE, "1", "0"],
        ["cnn, trained on both, seed 0", f"{BASELINE}, trained on training+validation", "1", "0"],
    ]


def test_every_baseline_is_a_line_in_the_figure(tmp_path):
    scores, pictures = [("cnn", 0.5, (0.45, 0.55))], []
    for lines in ([("a", 0.6)], [("a", 0.6), ("b", 0.7)]):
        draw_score_bars(scores, lines, tmp_path / "bars.png")
        pictures.append(cv2.imread(str(tmp_path / "bars.png")).astype(int))
    vermilion = [(np.abs(picture - (0x00, 0x5E, 0xD5)).max(axis=2) < 12).sum() for picture in pictures]
    assert 0 < vermilion[0] < vermilion[1]


def test_validation_curves_are_of_first_seeds_that_never_saw_that_part():
    again = RUNS[0]._replace(seed=1)
    assert [name for name, _ in curves([RUNS[0], again, *RUNS[1:]])] == ["cnn, seed 0", "vgg16, seed 0"]


def test_segmenter_is_not_compared(tmp_path):
    write_json(tmp_path / "run.json", {"result": {}})
    write_json(tmp_path / "evaluation_test" / "metrics.json", {"patients": {}})
    with pytest.raises(RunsDiffer, match=r"is no classifier.*monai-brain pool"):
        read_run(tmp_path)
