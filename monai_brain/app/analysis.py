"""What a visitor looks at: uploads, the sessions that compute, and the results that are kept for a while."""

import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from monai_brain.app.uploads import Uploads, new_group
from monai_brain.inference.session import Cancelled, Result, Session, cases_in
from monai_brain.io import Case, UnreadableCase
from monai_brain.labels import in_words
from monai_brain.optional import MissingDependency

RESULTS_KEPT, RESULT_BYTES_KEPT = 16, 512 * 1024**2
"""Of all visitors; what went is computed again when it is asked for."""

EXAMPLE_SEED = 5
"""Of the synthetic examples: heads whose tumors are seen well."""


class AnalysisRequest(NamedTuple):
    """What a visitor wants to see."""

    visitor: str
    group: str
    """Of an upload."""
    case: int
    """Among the upload's."""
    bundle: str
    method: str | None


class Example(NamedTuple):
    """Synthetic files to try the page with."""

    words: str
    files: tuple[Path, ...]
    gray: np.ndarray
    """uint8 (H, W), to be shown."""


class Job:
    """A result that a visitor waits for."""

    def __init__(self) -> None:
        self.done = 0
        self.number = 0
        """Of slices; 0 until the file is read."""
        self.is_cancelled = False

    def tell(self, done: int, number: int) -> bool:
        """See `session.Progress`."""
        self.done, self.number = done, number
        return not self.is_cancelled


class Analyzer:
    """Computes what visitors want, and keeps the last results.

    Args:
        sessions: by name.
        uploads: where the files lie.
    """

    def __init__(self, sessions: Mapping[str, Session], uploads: Uploads) -> None:
        self.sessions = sessions
        self.uploads = uploads
        self.results: OrderedDict[AnalysisRequest, Result] = OrderedDict()
        self.maps: dict[tuple[AnalysisRequest, int], np.ndarray] = {}
        self.lock = threading.RLock()
        self.jobs: dict[str, Job] = {}
        """By visitor, the latest one, while it is under way."""

    def cases(self, visitor: str, group: str) -> list[Case]:
        """Of an upload, whose other uploads are removed.

        Raises:
            UnreadableCase: there is none, or it was removed.
        """
        place = self.uploads.group(visitor, group)
        if place is None:
            raise UnreadableCase("removed", "the upload was removed after a period without use")
        self.uploads.remove_others(visitor, group)
        shutil.rmtree(place / "unpacked", ignore_errors=True)
        return cases_in(place / "files", place / "unpacked")

    def begin(self, visitor: str) -> Job:
        """A job of a visitor, whose earlier one is cancelled."""
        self.cancel(visitor)
        self.jobs[visitor] = job = Job()
        return job

    def cancel(self, visitor: str) -> None:
        """Stop what is computed for a visitor, at the next slice."""
        if job := self.jobs.get(visitor):
            job.is_cancelled = True

    def end(self, visitor: str, job: Job) -> None:
        """Forget a job that is done."""
        if self.jobs.get(visitor) is job:
            del self.jobs[visitor]

    def result(self, wanted: AnalysisRequest, job: Job | None = None) -> Result:
        """What the network says.

        Args:
            wanted: by whom and of what.
            job: is told how far it is.

        Raises:
            Cancelled: the visitor cancelled the job.
            UnreadableCase: the file cannot be used, or was removed.
        """
        job = job or Job()
        with self.lock:
            if job.is_cancelled:
                raise Cancelled(wanted.group)
            place = self.uploads.group(wanted.visitor, wanted.group)
            if place is None:
                raise UnreadableCase("removed", "the upload was removed after a period without use")
            if wanted in self.results:
                self.results.move_to_end(wanted)
                return self.results[wanted]
            cases = self.cases(wanted.visitor, wanted.group)
            output = place / "results" / secrets.token_hex(8)  # one for each: kept results still read theirs
            output.mkdir(parents=True)
            try:
                result = self.sessions[wanted.bundle].predict(cases[wanted.case], output, wanted.method, job.tell)
            except Cancelled:
                shutil.rmtree(output, ignore_errors=True)
                raise
            self.results[wanted] = result
            self._forget()
            return result

    def heat(self, wanted: AnalysisRequest, index: int) -> np.ndarray:
        """The map of one slice of a classifier's result, (h, w) in [0, 1]."""
        result = self.result(wanted)
        key = (wanted, index)
        if key not in self.maps:
            self.maps[key] = self.sessions[wanted.bundle].heat(result, index, wanted.method or "gradcam")
        return self.maps[key]

    def _forget(self) -> None:
        """Leave the newest results, and the maps of these."""
        while len(self.results) > 1 and (
            len(self.results) > RESULTS_KEPT
            or sum(result.size_bytes for result in self.results.values()) > RESULT_BYTES_KEPT
        ):
            _, forgotten = self.results.popitem(last=False)
            shutil.rmtree(forgotten.output, ignore_errors=True)
        self.maps = {key: own for key, own in self.maps.items() if key[0] in self.results}


def make_examples(folder: Path, *, volume: bool) -> list[Example]:
    """Render synthetic heads; none where the demo data cannot be made.

    Args:
        folder: new.
        volume: a whole head in FLAIR too, which takes some seconds.
    """
    from monai_brain.data.demo import write_demo_slices, write_demo_volumes

    try:
        write_demo_slices(folder / "slices", patients=4, slices_per_patient=1, seed=EXAMPLE_SEED, workers=1)
        if volume:
            write_demo_volumes(folder / "volumes", patients=1, seed=EXAMPLE_SEED, workers=1)
    except MissingDependency:
        return []
    examples = []
    for path in sorted((folder / "slices").glob("*/*.png")):
        gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert gray is not None  # it was written just now
        examples.append(Example(in_words(path.parent.name).capitalize(), (path,), gray))
    for path in sorted((folder / "volumes").rglob("*-t2f.nii.gz")):
        examples.append(Example("FLAIR volume", (path,), _middle(path)))
    return examples


def place_example(uploads: Uploads, visitor: str, example: Example) -> str:
    """Copy an example's files to a visitor's uploads.

    Returns:
        Name of the group.
    """
    group = new_group()
    uploads.add(visitor, group, example.files)
    return group


def _middle(path: Path) -> np.ndarray:
    from monai_brain.io import read_case
    from monai_brain.transforms.load import as_8_bits

    pixels = as_8_bits(read_case(Case(path.name, (path,), "volume"))).pixels
    return pixels[0, pixels.shape[1] * 6 // 10]
