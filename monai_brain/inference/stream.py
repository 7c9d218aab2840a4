"""The slices of cases, one after the other, as a data set; a bad file is noted and the stream goes on."""

import contextlib
import re
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, IterableDataset

from monai_brain.evaluation.input_check import InputCheck
from monai_brain.inference.preparation import Chooser, Prepared, Preparer, WorkerPool, default_workers, prepare_here
from monai_brain.io import Case, Image, Skipped, UnreadableCase, find_cases
from monai_brain.transforms.load import slices_with_signal, to_network_channels

SLICES_IN_VOLUME = 40
"""Assumed before volumes are read."""

GOLDEN_RATIO = (1 + 5**0.5) / 2
"""Multiples of it, without their whole part, lie evenly over 0 to 1, however many there are."""


@dataclass
class OpenCase:
    """A case whose slices are on their way through the network."""

    case: Case
    image: Image
    """See `Prepared`."""
    wanted: tuple[int, ...]
    """Slices that the network is shown."""
    warnings: tuple[str, ...]
    sha256: str
    checked: np.ndarray | None = None
    """See `Prepared`."""
    outputs: dict[int, Any] = field(default_factory=dict)
    """What a task keeps of each slice."""

    @property
    def is_complete(self) -> bool:
        """Whether every slice came back."""
        return len(self.outputs) == len(self.wanted)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a slice, pixels."""
        height, width = self.image.pixels.shape[-2:]
        return height, width

    @property
    def aspect(self) -> float:
        """Height of a pixel over its width."""
        spacing = self.image.spacing_mm
        return spacing[-2] / spacing[-1] if spacing else 1.0

    def gray(self, position: int) -> np.ndarray:
        """A slice as people look at it, (H, W), uint8; of several sequences FLAIR.

        Args:
            position: of the slice in its volume.
        """
        image = self.image
        if image.kind == "volume":
            image = image._replace(pixels=image.pixels[:, position], kind="slice")
        if image.channels:
            return np.asarray(image.pixels[image.channels.index("flair")])
        return np.asarray(to_network_channels(image, gray=True)[0][0])


class CaseStream(IterableDataset):
    """The slices of a folder's cases, preprocessed, in a stable order.

    Args:
        folder: with everything below it, or a table of cases; None is an empty stream, so that a bundle can be
            checked without input.
        deterministic: transforms of a slice, to uint8.
        intensity: transforms that bring it to the network, as `image`.
        workers: processes that open the files, so that one which kills its reader costs itself only; 0: this one;
            None: some, by the number of cores.
        part: `I/N`: of everything found, the I-th of every N; None: all.
        recursive: with everything below the folder; else the files that lie in it directly.
        glob: which files are taken, see `io.find_cases`; None: all.
        follow_links: follow symbolic links that lead out of the folder, see there.

    Attributes:
        found: every case and every skipped file of the part, in order.
        all_cases: of all parts.
        part_folder: where the part's results go; empty if there is one.
        cases: those that are to be done, in order.
        open: cases that are under way, by their index among `cases`.
        refused: cases that cannot be used, by index.
        choose: which slices of a volume are shown; all that are not empty, unless a task says otherwise.
        check: what looks at slices before any class is given; None, unless a task says otherwise.
        seconds: that reading and preprocessing took, over all workers.
        is_left: whoever reads the stream is gone; it ends at the next slice.
        keeps_pool: leave the workers running at the end, for further cases; `close` ends them.
    """

    def __init__(
        self,
        folder: str | Path | None,
        deterministic: Sequence[Any],
        intensity: Sequence[Any],
        workers: int | None = 0,
        part: str | None = None,
        recursive: bool = True,
        glob: str | None = None,
        follow_links: bool = False,
    ) -> None:
        self.unpacked = tempfile.TemporaryDirectory(prefix="monai-brain-")  # gone with this object
        place = Path(self.unpacked.name)
        everything: list[Case | Skipped] = []
        if folder is not None:
            everything = list(find_cases(folder, place, recursive=recursive, glob=glob, follow_links=follow_links))
        number, parts = part_of(part)
        self.found = everything[number - 1 :: parts]
        self.part_folder = folder_of_part(part)
        self.all_cases = [entry for entry in everything if isinstance(entry, Case)]
        self.cases = [entry for entry in self.found if isinstance(entry, Case)]
        self.deterministic = Compose(deterministic)
        self.intensity = Compose(intensity)
        self.workers = default_workers() if workers is None else workers
        self.open: dict[int, OpenCase] = {}
        self.refused: dict[int, UnreadableCase] = {}
        self.choose: Chooser = slices_with_signal
        self.check: InputCheck | None = None
        self.seconds = {"reading": 0.0, "preprocessing": 0.0}
        self.pool: WorkerPool | None = None
        self.keeps_pool = False
        self.is_left = False

    def fitting(self, batch_size: int) -> int:
        """A batch size that is not larger than the whole folder needs, the same for all of its parts."""
        slices = self.count_slices(in_volume=batch_size)
        return min(batch_size, 1 << max(0, slices - 1).bit_length())

    def count_slices(self, in_volume: int = SLICES_IN_VOLUME) -> int:
        """About how many slices the whole folder has: volumes are not opened, and count as `in_volume`."""
        return sum(1 if case.kind == "slice" else in_volume for case in self.all_cases)

    def start(self) -> None:
        """Start the workers, so that they load their libraries while the network is loaded."""
        if self.workers and (self.cases or self.keeps_pool):
            self.pool = WorkerPool(self._preparer(), self.workers)

    def wait_until_ready(self) -> None:
        """Until the workers can begin, where there is something to do."""
        if self.pool is not None and self.cases:
            self.pool.wait_until_ready()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Items with `image` (C, H, W), `case` (index) and `slice` (index in its volume)."""
        self.is_left = False
        if self.pool is None:
            self.start()
        try:
            for index, prepared in enumerate(self._prepared(self.cases)):
                if self.is_left:
                    return
                if isinstance(prepared, UnreadableCase):
                    self.refused[index] = prepared
                else:
                    yield from self._items(index, prepared)
        finally:
            if not self.keeps_pool:
                self.close()

    def close(self) -> None:
        """End the workers."""
        if self.pool is not None:
            self.pool.close()
            self.pool = None

    def sample(self, count: int) -> torch.Tensor:
        """The network's input of slices from all over the folder, (N, C, H, W), N at most `count`.

        Raises:
            NothingReadable: there is no slice that can be read.
        """
        found: list[torch.Tensor] = []
        with contextlib.closing(self.prepared_sample()) as every:
            for prepared in every:
                found += [self.intensity({"image": pixels})["image"] for pixels in prepared.slices]
                if len(found) >= count:
                    break
        if not found:
            raise NothingReadable("no file can be read, so no engine can be compared with torch; use --engine torch")
        return torch.stack(found[:count])

    def prepared_sample(self) -> Generator[Prepared]:
        """The cases that can be read, in an order in which those that come first are from all over the folder."""
        if self.pool is None:
            self.start()
        order = sorted(range(len(self.all_cases)), key=lambda index: index * GOLDEN_RATIO % 1)  # folders are sorted
        with contextlib.closing(self._prepared([self.all_cases[index] for index in order])) as every:
            yield from (prepared for prepared in every if isinstance(prepared, Prepared))

    def _prepared(self, cases: Sequence[Case]) -> Generator[Prepared | UnreadableCase]:
        if self.pool is not None:
            return self.pool.prepare(cases)
        return prepare_here(cases, self._preparer())

    def _preparer(self) -> Preparer:
        return Preparer(self.deterministic, self.choose, self.check)

    def _items(self, index: int, prepared: Prepared) -> Iterator[dict[str, Any]]:
        for name, seconds in zip(self.seconds, prepared.seconds, strict=True):
            self.seconds[name] += seconds
        self.open[index] = OpenCase(
            self.cases[index], prepared.image, prepared.wanted, prepared.warnings, prepared.sha256, prepared.checked
        )
        for position, pixels in zip(prepared.wanted, prepared.slices, strict=True):
            if self.is_left:
                return
            yield {"image": self.intensity({"image": pixels})["image"], "case": index, "slice": position}


def thread_beside(name: str) -> ThreadPoolExecutor:
    """A thread that works while the network computes, on one core.

    Its own team of OpenMP threads would wait busily for each other, and the network's for a core.
    """
    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=_stay_alone)


def _stay_alone() -> None:
    torch.get_num_threads()  # first, since torch sets a new thread's number when it is asked
    threadpool_limits(1, user_api="openmp")  # of this thread


class ReadAhead(DataLoader):
    """A loader that gets the next batch while the network computes one.

    MONAI's `ThreadDataLoader` does too, but ends without a word where reading fails.

    Args:
        dataset: a `CaseStream`.
        options: of torch's `DataLoader`.
    """

    def __init__(self, dataset: CaseStream, **options: Any) -> None:
        super().__init__(dataset, **options)
        self.stream = dataset

    def __iter__(self) -> Generator[dict[str, Any]]:  # type: ignore[override]
        """Batches, in the stream's order."""
        batches = super().__iter__()
        with thread_beside("reading-ahead") as thread:
            try:
                coming = thread.submit(next, batches, None)
                while (batch := coming.result()) is not None:
                    coming = thread.submit(next, batches, None)
                    yield batch
            finally:
                self.stream.is_left = True


class FixedBatch:
    """Fills the last batch up with zeros, so that a network computes every slice in the same way, wherever it stands.

    For `prepare_batch` of a MONAI evaluator. Without it, the last digits of a result could depend on how a run was
    divided, or where it was stopped and resumed.

    Args:
        size: of every batch.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(
        self, batch: Mapping[str, Any], device: Any = None, non_blocking: bool = False, **options: Any
    ) -> tuple[torch.Tensor, None]:
        """The batch's `image`, (size, C, H, W)."""
        image = batch["image"].to(device, non_blocking=non_blocking)
        missing = self.size - len(image)
        return (torch.cat([image, image.new_zeros(missing, *image.shape[1:])]) if missing > 0 else image), None


class NothingReadable(ValueError):
    """A folder in which no file is an image."""


class InvalidPart(ValueError):
    """A part of a run that makes no sense."""


def part_of(part: str | None) -> tuple[int, int]:
    """Number and count of a part written `I/N`.

    Raises:
        InvalidPart: it is none.
    """
    if part is None:
        return 1, 1
    found = re.fullmatch(r"(\d+)/(\d+)", str(part))
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise InvalidPart(f"part {part!r}; expected one such as 2/4, the second of four")
    return int(found[1]), int(found[2])


def folder_of_part(part: str | None) -> str:
    """Name of the folder, below the output, of a part written `I/N`; empty for a run that is not divided."""
    return "part_{}_of_{}".format(*part_of(part)) if part else ""
