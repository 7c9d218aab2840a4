"""What a network is applied for: what it is shown of a case, and what becomes of its outputs."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine
from torch import nn

from monai_brain.evaluation.input_check import InputCheck
from monai_brain.inference.patients import Verdicts, patient_of
from monai_brain.inference.prediction import Prediction
from monai_brain.inference.preparation import Chooser
from monai_brain.inference.stream import CaseStream, OpenCase
from monai_brain.io import Case
from monai_brain.transforms.load import slices_with_signal

LONGEST_NAME_BYTES = 240
"""File systems take 255; suffixes need room."""


class Task(ABC):
    """One kind of result: a class, or a mask.

    Attributes:
        columns: its own in the table.
        on_page: those of them that the page shows.
        folders: that it writes into, in the output folder.
        labels: that its answers are from.
        verb: for the progress bar.
        choose: which slices of a volume the network is shown; a function of a module, as it travels to workers.
        check: what looks at slices before anything is said of them; travels to workers too.
        settings: what a run must be resumed with, beside its options.
        notes: what a run says once at its start.
        divisible: whether the parts of a run can be done on several machines (`--part`).
        asks_again: whether the network is asked again for what becomes of a batch, which must then wait its turn.
        page_note: what pages say of all results.
        verdicts: puts cases of a patient together; None: nothing does.
    """

    columns: Sequence[str]
    on_page: Sequence[str] = ()
    folders: Sequence[str]
    labels: Sequence[str]
    verb: str
    choose: Chooser = staticmethod(slices_with_signal)
    check: InputCheck | None = None
    settings: Mapping[str, Any] = {}
    notes: Sequence[str] = ()
    divisible: bool = True
    asks_again: bool = False
    page_note: str = ""
    verdicts: Verdicts | None = None

    def begin(self, output: Path, cases: Iterable[Case]) -> None:
        """Take note of where results go and what is coming; refuse what cannot be done."""
        self.output = output

    def ready(self, network: nn.Module) -> None:  # noqa: B027
        """The network has its weights; refuse what cannot be done with it."""

    @abstractmethod
    def keep(self, engine: Engine, output: Mapping[str, Any], cases: Sequence[OpenCase]) -> Sequence[Any]:
        """What is kept of each item of a batch.

        Args:
            engine: that computed it; its state may be that of a later batch.
            output: of the network, `pred` and `image`, (N, ...).
            cases: that each item is a slice of, N.
        """

    @abstractmethod
    def finish(self, opened: OpenCase, engine: Engine) -> Prediction:
        """The row of a case whose slices all came back; its files are written."""

    def close(self) -> None:  # noqa: B027
        """The run is over."""


def completed_cases(
    engine: Engine, batch: Mapping[str, Any], output: Mapping[str, Any], stream: CaseStream, task: Task
) -> list[tuple[OpenCase, Prediction]]:
    """Take in a batch: the cases whose last slice it held, each with its row.

    Args:
        engine: that computed it.
        batch: of `engine.state`.
        output: likewise; it may have been filled up, see `stream.FixedBatch`.
        stream: where the batch came from; the completed cases leave it.
        task: what becomes of the outputs.
    """
    indices, positions = batch["case"].tolist(), batch["slice"].tolist()
    cases = [stream.open[index] for index in indices]
    output = {name: value[: len(cases)] if hasattr(value, "shape") else value for name, value in output.items()}
    for opened, position, own in zip(cases, positions, task.keep(engine, output, cases), strict=True):
        opened.outputs[position] = own
    complete = [index for index in dict.fromkeys(indices) if stream.open[index].is_complete]
    done = []
    for index in complete:
        opened = stream.open.pop(index)
        row = _finished(opened, engine, task)._replace(sha256=opened.sha256, patient=patient_of(opened.image.dicom))
        done.append((opened, row))
    return done


def _finished(opened: OpenCase, engine: Engine, task: Task) -> Prediction:
    """The case's row; an error where one of its own files has no place."""
    try:
        return task.finish(opened, engine)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):  # a folder is in the way, or a file
        return Prediction(opened.case.id, "error", "not_written", warnings=opened.warnings)


def short_name(case_id: str) -> str:
    """A case's own relative path, or a hash where that name would be too long for a file system."""
    if len(os.fsencode(case_id.rpartition("/")[2])) > LONGEST_NAME_BYTES:
        return hashlib.sha256(os.fsencode(case_id)).hexdigest()
    return case_id
