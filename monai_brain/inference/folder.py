"""Apply a network to every case of a folder: a row for each file found, files on request, nothing lost."""

import contextlib
import errno
import functools
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import cv2
from ignite.engine import Engine, Events
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from monai_brain.inference.engines import AutoEngine
from monai_brain.inference.engines import Engine as InferenceEngine
from monai_brain.inference.journal import Journal
from monai_brain.inference.pages import DEFAULT_CASES, REPORT, REVIEW, write_pages
from monai_brain.inference.patients import PATIENTS_TABLE, refused_folders, with_doubt
from monai_brain.inference.prediction import FIRST_COLUMNS, LAST_COLUMNS, Prediction, summary
from monai_brain.inference.stream import CaseStream, NothingReadable, thread_beside
from monai_brain.inference.task import Task, completed_cases
from monai_brain.inference.thumbnails import THUMBNAILS, Thumbnails
from monai_brain.io import Skipped
from monai_brain.io.lock import FolderLock, FolderUnavailable
from monai_brain.io.weights import find_weights
from monai_brain.io.write import manifest, remove_unfinished, sha256_of, write_csv, write_json
from monai_brain.workflow import NO_SPACE

NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What the system says of a folder without permission, and of a file system that is read-only."""

CLOSED = (*NOT_WRITABLE, errno.EIO, errno.ESTALE)
"""What it says of a folder that was taken away from a run, such as a share that is no longer there."""

EXIT_GOOD, EXIT_NOTHING, EXIT_FINDINGS = 0, 2, 3

TABLE, JOURNAL, MANIFEST = "predictions.csv", "predictions.jsonl", "run.json"
PATIENT = "patient"
"""Column of the table where patients are known."""

KIND = "prediction"
"""Of run, in its manifest."""

ORDER = "order.json"
"""Of a part: its cases and skipped files as the whole table will have them."""


class InvalidOutput(ValueError):
    """The output folder cannot be used, with the way out."""


Params = ParamSpec("Params")
Answer = TypeVar("Answer")
Step = Callable[Concatenate["FolderRun", Params], Answer]


def releases_lock_on_error(step: "Step[Params, Answer]") -> "Step[Params, Answer]":
    """A step of a run that lets go of the folder where it fails, so that a notebook can call again."""

    @functools.wraps(step)
    def guarded(run: "FolderRun", *words: Params.args, **options: Params.kwargs) -> Answer:
        try:
            with run.in_folder():
                return step(run, *words, **options)
        except BaseException:
            run.lock.release()
            raise

    return guarded


class FolderRun:
    """A handler that turns an evaluator's batches into the outputs of a folder run.

    A run that was stopped goes on where it was, if it is given the same options.

    Args:
        folder: that was searched.
        output_dir: gets `predictions.csv`, `predictions.jsonl`, `run.json`, `report.html`, `thumbnails/`, where
            patients are known `patients.csv`, and the task's folders.
        stream: what the evaluator's loader reads.
        task: what becomes of the network's outputs.
        overwrite: begin anew where an earlier run's results are.
        resume: None: go on with a run that was stopped; True: also with one that ended, for files that came since;
            False: with none.
        review: write a page on which a reader answers too.
        cases_on_page: at most so many failures and so many results stand on a page.
        console: for the progress bar; by default the standard error output.
    """

    def __init__(
        self,
        folder: str | Path | None,
        output_dir: str | Path,
        stream: CaseStream,
        task: Task,
        *,
        overwrite: bool = False,
        resume: bool | None = None,
        review: bool = False,
        cases_on_page: int = DEFAULT_CASES,
        console: Console | None = None,
    ) -> None:
        self.folder = folder
        self.output = Path(output_dir) / stream.part_folder
        self.stream = stream
        self.task = task
        self.overwrite = overwrite
        self.resume = resume
        self.review = review
        self.thumbnails = Thumbnails(self.output, cases_on_page)
        self.manifest: dict[str, Any] = {}
        self.seconds = dict.fromkeys(("waiting_for_files", "network", "waiting_for_results", "other"), 0.0)
        self.seconds_of_results = 0.0
        self.writer = thread_beside("results")
        self.pending: Future[None] | None = None
        self.journal = Journal(self.output / JOURNAL, stream.found)
        self.lock = FolderLock(self.output)
        self.progress = Progress(console=console or Console(stderr=True))
        self.bar = self.progress.add_task(task.verb, total=len(stream.cases))
        stream.choose, stream.check = task.choose, task.check

    @releases_lock_on_error
    def check(self) -> None:
        """Check the folders, before anything takes time; first in `run:`.

        Raises:
            InvalidOutput: no input was named, or the output cannot be written to, or would mix with the input or
                another run.
            FolderInUse: another process works there.
        """
        if self.folder is None:
            raise InvalidOutput("no input: name the folder of scans with --input_dir")
        if self.stream.part_folder and not self.task.divisible:
            raise InvalidOutput(
                "--deidentify cannot be combined with --part: each part would have its own key; run it whole"
            )
        self.task.begin(self.output, self.stream.all_cases)
        source, target = Path(self.folder).resolve(), self.output.resolve()
        if source.is_relative_to(target) or target.is_relative_to(source):
            raise InvalidOutput(
                f"{self.output}: one of input and output contains the other; give an output folder outside of {source}"
            )
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            self.lock.acquire()
        except OSError as error:
            if error.errno not in NOT_WRITABLE:
                raise
            message = f"{self.output}: cannot be written to ({error.strerror}); give another folder"
            raise InvalidOutput(message) from None
        earlier = self._earlier()
        if earlier is None:
            self._refuse_files_of_others()
        if earlier is None or self.overwrite:
            return
        if self.resume is False or ("counts" in earlier and not self.resume):
            raise InvalidOutput(
                f"{self.output}: contains the results of a run; give another folder, --overwrite to replace them, or "
                "--resume to add new files"
            )

    @releases_lock_on_error
    def build(self, engine: InferenceEngine, network: nn.Module, weights: str | Path) -> None:
        """Get an engine ready for a network; it is compared with torch on slices from all over the folder.

        Raises:
            EngineDisagrees: it computes something else than torch.
            UnknownMethod, NoSuchLayer: the network cannot be explained as was asked.
        """
        earlier = None if self.overwrite else self._earlier()
        engine.log = self._say
        if earlier:
            engine.remember(earlier["options"])
        else:
            engine.expect(self.stream.count_slices(), divided=bool(self.stream.part_folder))
        if engine.wanted_slices and self.stream.all_cases and (slices := self._sample_for(engine)) is not None:
            engine.build(network.eval(), sha256_of(find_weights(Path(weights))), slices)
        self.engine = engine
        self.task.ready(network)  # afterwards: its hooks would be exported too

    @releases_lock_on_error
    def begin(self, weights: str | Path, options: Mapping[str, Any]) -> None:
        """Note what is about to be done, or go on with it; in `run:`, before the evaluator.

        Raises:
            InvalidOutput: the run that was begun there has other options or weights.
        """
        cv2.setNumThreads(1)  # its threads wait busily, and the network has the cores
        options = json.loads(json.dumps({**options, **self.engine.chosen, **self.task.settings}))
        identity = {"options": options, "weights_sha256": sha256_of(find_weights(Path(weights)))}
        earlier = None if self.overwrite else self._earlier()
        if earlier is not None:
            self._refuse_other(earlier, identity)
        else:
            for name in (TABLE, PATIENTS_TABLE, REPORT, REVIEW):  # an old table under a new manifest would lie
                (self.output / name).unlink(missing_ok=True)
            for name in (*self.task.folders, THUMBNAILS):
                shutil.rmtree(self.output / name, ignore_errors=True)
        task = {"task": type(self.task).__name__.lower(), "labels": list(self.task.labels)}
        self.manifest = {**manifest(KIND, options), **identity, **task}
        sets = self.task.verdicts.sets if self.task.verdicts else None
        self.manifest |= {"calibration": sets.calibration.content()} if sets else {}
        self.manifest |= {"engine_trial": self.engine.trial} if isinstance(self.engine, AutoEngine) else {}
        write_json(self.output / MANIFEST, self.manifest)
        remove_unfinished(self.output)
        for row in self.journal.begin(keep=earlier is not None):
            for name in row.files:  # the case may get none this time
                (self.output / name).unlink(missing_ok=True)
        self.thumbnails.begin(self.journal.done())
        self.stream.cases = [case for case in self.stream.cases if case.id not in self.journal.places]
        self.progress.advance(self.bar, len(self.journal.places))
        for note in self.task.notes:
            self._say(note)
        self.stream.wait_until_ready()  # the first slice would wait too: it is nobody's time but the start's
        self.began = self.ticked = time.monotonic()

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator whose batches stay whole (`decollate: false`)."""
        engine.add_event_handler(Events.STARTED, lambda _: self.progress.start())
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._clock, "other")
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._clock, "waiting_for_files")
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._clock, "network")
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._clock, "waiting_for_results")
        engine.add_event_handler(Events.COMPLETED, self._stop)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._stop_and_raise)

    def __call__(self, engine: Engine) -> None:
        """Hand a batch on to where the cases that it completes are written down, while the next one is computed."""
        self._wait_for_results()  # of the batch before: at most one waits
        self.pending = self.writer.submit(self._take_in, engine, engine.state.batch, engine.state.output)
        if self.task.asks_again:
            self._wait_for_results()

    @releases_lock_on_error
    def end(self) -> int:
        """Write table, page and manifest.

        Returns:
            Exit status: 0 all good, 2 nothing to do, 3 some cases failed.
        """
        self._write(self._refused())
        self.journal.end()
        seconds = round(time.monotonic() - self.began, 2)
        counts = write_results(
            self.output, self.journal.rows, self.task, self.thumbnails.count, self.review, self.thumbnails.end
        )
        for problem in counts["problems"]:
            self.progress.console.print(f"The table is complete, but {problem}", markup=False)
        if self.stream.part_folder:
            order = [(entry.id, entry.code if isinstance(entry, Skipped) else "") for entry in self.stream.found]
            write_json(self.output / ORDER, order)
        done = len(self.stream.cases)
        beside = {**self.stream.seconds, "results": self.seconds_of_results}
        session = {
            "seconds": seconds,
            "cases": done,
            "cases_per_second": round(done / max(seconds, 0.01), 2),
            "seconds_of_this_process": {name: round(own, 2) for name, own in self.seconds.items()},
            "seconds_beside_the_network": {name: round(own, 2) for name, own in beside.items()},
        }
        write_json(self.output / MANIFEST, {**self.manifest, "counts": counts, "this_session": session})
        self.lock.release()
        if has_findings(counts):
            return EXIT_FINDINGS
        return EXIT_GOOD if self.stream.all_cases else EXIT_NOTHING

    @contextlib.contextmanager
    def in_folder(self) -> Iterator[None]:
        """Say plainly what befell the output folder.

        Raises:
            FolderUnavailable: it was removed, or can no longer be written to.
        """
        try:
            yield
        except OSError as error:
            if error.errno in CLOSED:
                raise FolderUnavailable(
                    f"{self.output}: can no longer be written to ({error.strerror}); finished work is kept; run "
                    "the command again to continue"
                ) from None
            if self.lock.file is not None and not self.lock.path.exists():
                message = f"{self.output}: was removed during the run; run the command again to start over"
                raise FolderUnavailable(message) from None
            raise

    def _earlier(self) -> dict[str, Any] | None:
        """The manifest of the folder run that was begun here; None where there is none."""
        try:
            content = json.loads((self.output / MANIFEST).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return content if isinstance(content, dict) and content.get("kind") == KIND else None

    def _refuse_files_of_others(self) -> None:
        """What this run would replace is only replaced where a manifest says that it is an earlier run's."""
        own = (TABLE, PATIENTS_TABLE, JOURNAL, MANIFEST, REPORT, REVIEW, *self.task.folders, THUMBNAILS)
        there = [name for name in own if (self.output / name).exists()]
        if there:
            raise InvalidOutput(
                f"{self.output}: contains {', '.join(there)}, not written by a folder run; give another folder, or "
                "move them away"
            )

    def _refuse_other(self, earlier: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        mine, theirs = ({**one["options"], "weights": one["weights_sha256"]} for one in (identity, earlier))
        other = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
        if other:
            raise InvalidOutput(
                f"{self.output}: a run was started here with another {', '.join(other)}; give the same value, "
                "another folder, or --overwrite"
            )

    def _refused(self) -> list[Prediction]:
        """Rows of the cases that were refused since the last time."""
        refused = []
        while self.stream.refused:  # which may be reading ahead
            index, why = self.stream.refused.popitem()
            refused.append(Prediction(self.stream.cases[index].id, "error", why.code))
        return refused

    def _sample_for(self, engine: InferenceEngine) -> Tensor | None:
        """Slices to compare engines on; None where nothing can be read, and the engine does without."""
        try:
            return self.stream.sample(engine.wanted_slices)
        except NothingReadable:
            engine.expect(0, divided=False)
            if engine.wanted_slices:
                raise
            return None

    def _say(self, line: str) -> None:
        self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _write(self, rows: list[Prediction]) -> None:
        if rows:
            self.journal.add(rows)
            self.progress.advance(self.bar, len(rows))

    def _clock(self, engine: Engine, what: str) -> None:
        """Book the time since the last call."""
        now = time.monotonic()
        self.seconds[what] += now - self.ticked
        self.ticked = now

    def _take_in(self, engine: Engine, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Explanations, files and rows."""
        began = time.monotonic()
        done = []
        with self.in_folder():
            for opened, row in completed_cases(engine, batch, output, self.stream, self.task):
                self.thumbnails.consider(row, opened)
                done.append(row)
            self._write([*done, *self._refused()])
        self.seconds_of_results += time.monotonic() - began

    def _wait_for_results(self) -> None:
        """Raises what went wrong there."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()

    def _stop(self, engine: Engine) -> None:
        try:
            self._wait_for_results()
        finally:
            self.writer.shutdown()
            self.progress.stop()
            self.task.close()

    def _stop_and_raise(self, engine: Engine, error: BaseException) -> None:
        try:
            self._stop(engine)
        finally:
            self.lock.release()
        raise error


def has_findings(counts: Mapping[str, Any]) -> bool:
    """Whether some case failed, some folder could not be searched, or a page could not be written."""
    return bool(counts["status"].get("error") or counts["code"].get("unreadable_folder") or counts.get("problems"))


def write_results(
    folder: Path,
    rows: Callable[[], Iterable[Prediction]],
    task: Task | type[Task],
    cases_on_page: int = DEFAULT_CASES,
    review: bool = False,
    tidy: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Write the table, and then the pages, whose failure is noted and costs nothing else.

    Args:
        folder: of the run.
        rows: gives all rows in order; called several times, since they may be too many to be held.
        task: whose results they are.
        cases_on_page: see `write_pages`.
        review: likewise.
        tidy: what is removed before the pages are written.

    Returns:
        Counts of cases, and of each status, label and code; `problems`, what went wrong with the pages.
    """
    patients = task.verdicts.names(rows()) if task.verdicts else {}
    verdicts = task.verdicts.verdicts(rows(), patients) if task.verdicts else []
    if task.verdicts:
        task.verdicts.write(folder, verdicts)
    refused = {own.patient for own in verdicts if not own.label}
    folders = refused_folders(rows(), patients)

    def warned() -> Iterable[Prediction]:
        return (with_doubt(row, patients, refused, folders) for row in rows())

    columns = (*FIRST_COLUMNS, *task.columns, *LAST_COLUMNS, *([PATIENT] if patients else []))
    write_csv(folder / TABLE, columns, (_with_patient(row.row(task.columns), row.path, patients) for row in warned()))
    counts: dict[str, Any] = {**summary(warned()), "problems": []}
    counts |= {"patients": len(verdicts)} if verdicts else {}
    steps = {
        "old thumbnails could not be removed": tidy,
        "the pages could not be written": lambda: write_pages(
            folder, warned, task, counts, cases_on_page, review, verdicts
        ),
    }
    for problem, step in steps.items():
        try:
            step()
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
            counts["problems"].append(f"{problem}: {error}")
    return counts


def _with_patient(row: dict[str, Any], path: str, patients: Mapping[str, str]) -> dict[str, Any]:
    return {**row, PATIENT: patients.get(path, "")} if patients else row
