"""What the page keeps of one visitor's uploads."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from monai_brain.app.analysis import AnalysisRequest, Analyzer
from monai_brain.app.uploads import Uploads, new_group
from monai_brain.inference.prediction import Prediction
from monai_brain.inference.session import Cancelled, Result

VISITOR = "a" * 43


class Naming:
    """A session that writes each case's mask under the case's stem, as a folder run of one file does."""

    def predict(self, case, output, method, progress):
        (output / "masks").mkdir()
        mask = f"masks/{Path(case.id).stem}.png"
        (output / mask).write_text(f"mask of {case.id}")
        row = Prediction(case.id, "ok", values={"mask": mask})
        gray = np.zeros((2, 2), np.uint8)
        return Result(row, "slice", (0,), (gray,), (), (gray > 0,), None, 0, output)


@pytest.fixture
def desk(tmp_path):
    uploads = Uploads(tmp_path / "uploads", 10**6, 10**7)
    return Analyzer({"one": Naming(), "other": Naming()}, uploads)


def test_going_back_to_a_case_gives_its_own_mask(desk, tmp_path):
    files = []
    for name in ("a.jpg", "a.png", "b.png"):
        (tmp_path / name).write_text(name)
        files.append(tmp_path / name)
    group = new_group()
    desk.uploads.add(VISITOR, group, files)
    cases = [case.id for case in desk.cases(VISITOR, group)]

    def mask(number, bundle):
        result = desk.result(AnalysisRequest(VISITOR, group, number, bundle, None))
        return (result.output / result.prediction.values["mask"]).read_text()

    for number, bundle in ((0, "one"), (1, "one"), (2, "one"), (0, "other"), (0, "one"), (2, "other"), (1, "one")):
        assert mask(number, bundle) == f"mask of {cases[number]}"


class Slow:
    """A session that goes on until it is told not to."""

    def predict(self, case, output, method, progress):
        done = 0
        while progress(done, 9):
            done += 1
            time.sleep(0.001)
        raise Cancelled(case.id)


def test_visitor_cancels_the_own_job_and_a_new_one_ends_the_one_before(tmp_path):
    desk = Analyzer({"one": Slow()}, Uploads(tmp_path / "uploads", 10**6, 10**7))
    (tmp_path / "a.png").write_text("a")
    group = new_group()
    desk.uploads.add(VISITOR, group, [tmp_path / "a.png"])
    wanted = AnalysisRequest(VISITOR, group, 0, "one", None)
    for stop in (lambda: desk.cancel(VISITOR), lambda: desk.begin(VISITOR)):
        job = desk.begin(VISITOR)
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(desk.result, wanted, job)
            while not job.done:
                time.sleep(0.001)
            desk.cancel("b" * 43)
            time.sleep(0.01)
            assert not coming.done()
            assert job.number == 9
            stop()
            with pytest.raises(Cancelled):
                coming.result(10)
    assert list((tmp_path / "uploads").rglob("results/*")) == []
