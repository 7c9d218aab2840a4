"""One bundle, loaded once, for one upload after the other: what a page or a notebook asks for."""

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_brain.explain.methods import METHODS, UnknownMethod, make_explainer
from monai_brain.explain.trust import to_gray
from monai_brain.inference.apply import find_bundle, start_workflow
from monai_brain.inference.classification import Classification
from monai_brain.inference.prediction import ABSTAINED, Prediction
from monai_brain.inference.segmentation import UNKNOWN_SEQUENCE, Segmentation
from monai_brain.inference.stream import OpenCase
from monai_brain.inference.task import completed_cases
from monai_brain.io import Case, Skipped, UnreadableCase, find_cases
from monai_brain.io.archive import ArchiveLimits, check_archive
from monai_brain.io.sequences import named_sequence
from monai_brain.io.weights import find_weights

LOADING = (
    "$workflow.refuse_unknown()",
    "$adopt(@weights)",
    "$load_weights(@network, @weights)",
)
"""Of the `run:` list of every bundle's inference.yaml, what comes before there is a folder."""

NO_RESULT = {
    "non_finite_output": "the network's output for this file is not a number",
    UNKNOWN_SEQUENCE: "the network was not trained on the sequence that the file shows",
    "not_written": "a file or folder of the same name is in the way of the result",
}
"""What a task's codes mean."""

UPLOADED_ARCHIVES = ArchiveLimits(max_members=5_000, max_bytes=1024**3)
"""A study of some series; a folder run takes more."""


Progress = Callable[[int, int], bool]
"""Is told how many slices are done and how many there are; says whether to go on."""


class Cancelled(Exception):
    """Whoever asked for a result does not want it any more."""


class Result(NamedTuple):
    """What is known of one case; N slices are shown."""

    prediction: Prediction
    kind: str
    """`slice` or `volume`."""
    positions: tuple[int, ...]
    """Which slices of the volume are shown, (N,); the first is 0."""
    grays: tuple[np.ndarray, ...]
    """N times uint8 (H, W): of a classifier what the network saw, of a segmenter the file's own slices."""
    inputs: tuple[Tensor, ...]
    """N times float32 (C, H, W), of a classifier, for explanations; empty of a segmenter."""
    masks: tuple[np.ndarray, ...]
    """N times bool (H, W), of a segmenter; empty of a classifier."""
    spacing_mm: tuple[float, ...] | None
    """Distance between neighboring pixels along H, W (or D, H, W) of the file; None where it does not say."""
    first: int
    """Index of the slice to show first: the one that speaks most clearly, or that shows most of the tumor."""
    output: Path
    """Folder of the files that a folder run writes too."""
    coverage: float | None = None
    """Of the set of classes; None where there is none."""
    files: int = 1
    """That the case consists of."""
    sequence: str = ""
    """What the file says it shows, or else looks like, of `io.sequences.SAID`; empty where nothing is known."""

    @property
    def aspect(self) -> float:
        """Height over width of a pixel of `grays`; 1 of a classifier, whose input is square."""
        if self.inputs or self.spacing_mm is None:
            return 1.0
        return self.spacing_mm[-2] / self.spacing_mm[-1]

    @property
    def size_bytes(self) -> int:
        """Memory that the arrays take."""
        arrays = sum(array.nbytes for array in (*self.grays, *self.masks))
        return arrays + sum(image.element_size() * image.nelement() for image in self.inputs)


class Session:
    """A bundle with its weights, ready for uploads; files are opened by processes of their own.

    One case is computed at a time, whoever asks. Slices go through the network one by one, as in a folder run of one
    file, so the result is that of `monai-brain predict` on the same file.

    Args:
        bundle: its folder; None: the repository's classifier.
        weights: a run's folder or a weight file; None: the bundle's own.
        overrides: keys of the bundle's inference.yaml, such as `precision`; by default one worker, and torch.

    Attributes:
        name: of the bundle's folder.
        kind: `classification` or `segmentation`.
        columns: of its results' rows.
        methods: of `explain.methods.METHODS`, those that this network can be explained by; none of a segmenter.

    Raises:
        NoBundle: there is none.
        InvalidWeights: there are none, or they do not fit.
    """

    def __init__(self, bundle: Path | None = None, weights: Path | None = None, **overrides: Any) -> None:
        folder = find_bundle(bundle)
        find_weights(weights or folder)  # before anything takes time
        self.name = folder.name
        self.workflow = start_workflow(
            [folder / "configs" / "inference.yaml"],
            "infer",
            run=list(LOADING),
            handlers=[],
            batch_size=1,
            weights=str(weights) if weights else None,
            **{"workers": 1, "engine": "torch", **overrides},
        )
        self.workflow.run()
        parsed = self.workflow.parser.get_parsed_content
        self.network = parsed("network").eval()
        self.stream = parsed("dataset")
        self.kind = "classification" if isinstance(parsed("task"), Classification) else "segmentation"
        self.columns = tuple(parsed("task").columns)
        self.layer = parsed("cam_layer") if "cam_layer" in self.workflow.parser else None
        self.methods = tuple(name for name in METHODS if self._is_explained_by(name))
        self.lock = threading.Lock()
        self.stream.choose, self.stream.check = type(parsed("task")).choose, parsed("task").check
        self.stream.keeps_pool = True
        self.stream.start()

    def predict(
        self, case: Case, output: Path, method: str | None = None, progress: Progress = lambda done, number: True
    ) -> Result:
        """Apply the network to one case.

        Args:
            case: as found by `cases_in`.
            output: empty folder for what a folder run would write: overlay and mask.
            method: of `methods`; None: the first.
            progress: asked after each slice.

        Raises:
            Cancelled: `progress` said so.
            UnreadableCase: the file cannot be used, with its code.
            UnknownMethod: the network cannot be explained that way.
        """
        with self.lock:
            task = self._task(method)
            task.begin(output, [case])
            task.ready(self.network)
            self.stream.cases = self.stream.all_cases = [case]
            self.stream.open.clear()
            self.stream.refused.clear()
            done: list[tuple[OpenCase, Prediction]] = []
            try:
                self._evaluator(task, done, progress).run()
            finally:
                task.close()
                self.stream.open.clear()
            if self.stream.refused:
                raise self.stream.refused.pop(0)
            if not done:
                raise Cancelled(case.id)
            opened, prediction = done[0]
        if prediction.status not in ("ok", ABSTAINED):
            raise UnreadableCase(prediction.code, NO_RESULT[prediction.code])
        return self._result(opened, prediction, task, output)

    def heat(self, result: Result, index: int, method: str) -> np.ndarray:
        """Where the evidence for the case's class is in one of its slices.

        Args:
            result: of this session's classifier.
            index: of the slice, among those that are shown.
            method: of `methods`.

        Returns:
            (h, w), float32 in [0, 1].
        """
        label = self.workflow.parser.get_parsed_content("class_names").index(result.prediction.label)
        device = next(self.network.parameters()).device
        with self.lock, make_explainer(method, self.network, self.layer) as explainer:
            maps = explainer(result.inputs[index][None].to(device), torch.tensor([label], device=device))
        return maps[0, 0].float().cpu().numpy()

    def close(self) -> None:
        """End the processes that open files."""
        self.stream.close()

    def _is_explained_by(self, method: str) -> bool:
        if self.kind != "classification":
            return False
        try:
            make_explainer(method, self.network, self.layer).close()
        except UnknownMethod:
            return False
        return True

    def _task(self, method: str | None) -> Classification | Segmentation:
        """A task of the bundle's config, which writes what it can."""
        chosen = method or next(iter(self.methods), None)
        wanted = {"explain": True, "method": chosen} if self.kind == "classification" else {"overlays": True}
        return self._made_anew("task", **wanted)

    def _evaluator(self, task: Any, done: list[tuple[OpenCase, Prediction]], progress: Progress) -> Engine:
        """The evaluator of the bundle's config; made anew, as ignite's engines remember how long they ran."""
        evaluator = self._made_anew("evaluator")

        def tell(engine: Engine) -> None:
            number = len(self.stream.open[0].wanted)
            if not progress(engine.state.iteration, number):
                self.stream.is_left = True  # one slice more may be on its way

        evaluator.add_event_handler(Events.ITERATION_COMPLETED, tell)  # before the last slice closes the case
        evaluator.add_event_handler(
            Events.ITERATION_COMPLETED,
            lambda engine: done.extend(
                completed_cases(engine, engine.state.batch, engine.state.output, self.stream, task)
            ),
        )
        return evaluator

    def _made_anew(self, key: str, **options: Any) -> Any:
        """A new object by the config's entry, whose references keep their objects."""
        parser = self.workflow.parser
        parser.get_parsed_content(key)  # resolves the references in the entry
        return parser.ref_resolver.get_item(key).instantiate(**options)

    def _result(self, opened: OpenCase, prediction: Prediction, task: Any, output: Path) -> Result:
        image = opened.image
        files = len(opened.case.files)
        said = image.sequence or named_sequence(opened.case.id)
        if self.kind == "classification":
            positions = tuple(sorted(opened.outputs))
            inputs = tuple(opened.outputs[position].image for position in positions)
            grays = tuple(to_gray(own.numpy()) for own in inputs)
            first = positions.index(int(prediction.values.get("deciding_slice", 0) or 0)) if len(positions) > 1 else 0
            coverage = task.sets.coverage if task.sets else None
            return Result(
                prediction,
                image.kind,
                positions,
                grays,
                inputs,
                (),
                image.spacing_mm,
                first,
                output,
                coverage,
                files,
                prediction.values["sequence"] or said,
            )
        mask = task.mask_of(opened)
        masks = tuple(mask) if image.kind == "volume" else (mask,)
        grays = tuple(opened.gray(position) for position in range(len(masks)))
        first = int(np.argmax([own.sum() for own in masks])) if mask.any() else len(masks) // 2
        return Result(
            prediction,
            image.kind,
            tuple(range(len(masks))),
            grays,
            (),
            masks,
            image.spacing_mm,
            first,
            output,
            None,
            files,
            said,
        )


def cases_in(folder: Path, unpack_into: Path) -> list[Case]:
    """The cases of an upload.

    Args:
        folder: of the files.
        unpack_into: folder for what archives hold.

    Raises:
        UnreadableCase: there is none, or an archive may not be unpacked.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == ".zip" and path.is_file():
            check_archive(path, UPLOADED_ARCHIVES)
    found = list(find_cases(folder, unpack_into))
    cases = [entry for entry in found if isinstance(entry, Case)]
    if not cases:
        code = next((entry.code for entry in found if isinstance(entry, Skipped)), "empty_file")
        raise UnreadableCase(code, "there is no image among the files")
    return cases


def result_as_json(result: Result, columns: Sequence[str]) -> str:
    """A result's row, as it stands in `predictions.csv`, as JSON in ASCII.

    Args:
        result: of a session.
        columns: the task's own.
    """
    row = {**result.prediction.row(columns), "sha256": result.prediction.sha256}
    return json.dumps({**row, "note": "Research use only; not a medical device."}, indent=2) + "\n"
