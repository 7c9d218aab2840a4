"""Workers that open files: what kills, stalls or swells one costs its case only."""

import os
import signal
import threading
import time

import cv2
import numpy as np
import pytest
from monai.transforms import Compose, EnsureTyped
from sklearn.datasets import load_sample_image

from monai_brain.inference.preparation import Prepared, Preparer, WorkerPool, WorkerStartError, prepare_here
from monai_brain.inference.stream import CaseStream, ReadAhead
from monai_brain.io import UnreadableCase, find_cases
from monai_brain.transforms.load import LoadSliced, slices_with_signal
from monai_brain.transforms.spatial import ResizeSliced
from tests.conftest import draw_phantom

pytestmark = pytest.mark.slow


class Misbehave:
    """A transform that does what the brightness of the upper left pixel says."""

    def __call__(self, data):
        order = int(data["image"][0, 0, 0])
        if order == 251:
            os.kill(os.getpid(), signal.SIGSEGV)
        if order == 252:
            time.sleep(60)
        if order == 253:
            np.ones(8 * 1024**3, np.uint8)
        return data


TRANSFORMS = [LoadSliced("image"), Misbehave(), ResizeSliced("image", size=32)]


def write(folder, orders):
    folder.mkdir(parents=True)
    for number, order in enumerate(orders):
        image = draw_phantom(number % 4, number)
        image[0, 0] = order
        cv2.imwrite(str(folder / f"{number:02d}.png"), image)
    return list(find_cases(folder))


@pytest.fixture(scope="module")
def pool():
    pool = WorkerPool(
        Preparer(Compose(TRANSFORMS), slices_with_signal), 2, seconds_per_case=3, bytes_per_worker=2 << 30
    )
    yield pool
    pool.close()


@pytest.mark.bad_input(68)
def test_bad_cases_have_their_code_and_all_others_come_back_in_order(pool, tmp_path):
    cases = write(tmp_path / "scans", [0, 251, 0, 252, 0, 253, 0, 0])
    (tmp_path / "scans" / "06.png").write_bytes(b"no image")
    results = list(pool.prepare(cases))
    codes = [one.code if isinstance(one, UnreadableCase) else "" for one in results]
    assert codes == ["", "decoder_died", "", "decoder_died", "", "out_of_memory", "not_an_image", ""]
    here = list(prepare_here([cases[0], cases[2]], Preparer(Compose(TRANSFORMS), slices_with_signal)))
    for mine, theirs in zip(here, (results[0], results[2]), strict=True):
        assert isinstance(mine, Prepared)
        assert np.array_equal(mine.slices[0], theirs.slices[0])


@pytest.mark.bad_input(38)
def test_photographs_and_screenshots_are_warned_about_and_heads_are_not(tmp_path):
    photographs = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    screenshot = np.full((200, 300, 3), 240, np.uint8)
    cv2.putText(screenshot, "Findings: none", (20, 100), cv2.FONT_HERSHEY_SIMPLEX, 1, (0, 0, 0))
    pictures = [*photographs, cv2.cvtColor(photographs[0], cv2.COLOR_RGB2GRAY), screenshot, draw_phantom(0, 1)]
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    preparer = Preparer(Compose([LoadSliced("image")]), slices_with_signal)
    found = [set(prepared.warnings) for prepared in prepare_here(list(find_cases(tmp_path)), preparer)]
    both = {"in_color", "bright_border"}
    assert found == [both, {"in_color"}, {"bright_border"}, {"bright_border"}, set()]


def test_workers_stay_for_the_next_cases_and_do_not_run_far_ahead(pool, tmp_path, monkeypatch):
    monkeypatch.setattr("monai_brain.inference.preparation.MOST_CASES_AHEAD", 3)
    cases = write(tmp_path / "scans", [0] * 12)
    processes = [worker.process.pid for worker in pool.workers]
    results = pool.prepare(cases)
    next(results)
    time.sleep(1)
    desk = results.gi_frame.f_locals["desk"]
    assert desk.taken <= 1 + 3
    assert len([next(results) for _ in range(11)]) == 11
    assert [worker.process.pid for worker in pool.workers] == processes


def test_reading_ahead_gives_the_same_batches_and_what_went_wrong(tmp_path, monkeypatch):
    write(tmp_path / "scans", [0] * 10)
    stream = CaseStream(tmp_path / "scans", TRANSFORMS, [])
    batches = [batch["case"].tolist() for batch in ReadAhead(stream, batch_size=4)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    items = stream._items
    monkeypatch.setattr(stream, "_items", lambda index, prepared: items(index, prepared) if index < 6 else 1 / 0)
    read = iter(ReadAhead(stream, batch_size=4))
    assert next(read)["case"].tolist() == [0, 1, 2, 3]
    with pytest.raises(ZeroDivisionError):
        next(read)


def test_a_sample_comes_from_all_over_the_folder(tmp_path):
    write(tmp_path / "scans", range(100))
    stream = CaseStream(tmp_path / "scans", [LoadSliced("image")], [EnsureTyped("image")])
    numbers = sorted(stream.sample(10)[:, 0, 0, 0].tolist())
    assert np.diff([0, *numbers, 100]).max() <= 20


def test_who_leaves_the_stream_does_not_wait_for_the_rest(tmp_path, monkeypatch):
    write(tmp_path / "scans", [0] * 12)
    stream = CaseStream(tmp_path / "scans", TRANSFORMS, [])
    asked, reading, may_go_on = [], threading.Event(), threading.Event()
    items = stream._items

    def slow(index, prepared):
        asked.append(index)
        if index == 2:
            reading.set()
            may_go_on.wait(10)
        return items(index, prepared)

    monkeypatch.setattr(stream, "_items", slow)
    read = iter(ReadAhead(stream, batch_size=2))
    next(read)
    assert reading.wait(10), "the second batch is read ahead"
    threading.Timer(0.2, may_go_on.set).start()
    read.close()
    assert asked == [0, 1, 2]
    assert "reading-ahead" not in {thread.name.rpartition("_")[0] for thread in threading.enumerate()}


def test_stream_with_workers_equals_the_one_without(tmp_path):
    write(tmp_path / "scans", [0] * 5)
    (tmp_path / "scans" / "02.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    streams = [CaseStream(tmp_path / "scans", TRANSFORMS, [], workers=workers) for workers in (0, 1)]
    items = [list(stream) for stream in streams]
    assert [item["case"] for item in items[0]] == [item["case"] for item in items[1]] == [0, 1, 3, 4]
    for mine, theirs in zip(*items, strict=True):
        assert np.array_equal(mine["image"], theirs["image"])
    assert [stream.refused[2].code for stream in streams] == ["truncated"] * 2
    assert streams[1].pool is None, "the processes are gone"


def test_worker_that_is_killed_while_it_starts_is_replaced(tmp_path):
    pool = WorkerPool(Preparer(Compose(TRANSFORMS), slices_with_signal), 1)
    pool.workers[0].process.kill()
    results = list(pool.prepare(write(tmp_path / "scans", [0, 0])))
    pool.close()
    assert [type(one) for one in results] == [Prepared, Prepared]


def test_workers_that_never_start_are_given_up_with_the_way_out(tmp_path, monkeypatch):
    started, start = [], WorkerPool._start

    def killed(pool):
        started.append(start(pool))
        started[-1].process.kill()
        return started[-1]

    monkeypatch.setattr(WorkerPool, "_start", killed)
    pool = WorkerPool(Preparer(Compose(TRANSFORMS), slices_with_signal), 1)
    with pytest.raises(WorkerStartError, match="--workers 0"):
        list(pool.prepare(write(tmp_path / "scans", [0])))
    assert len(started) == 3
    pool.close()
