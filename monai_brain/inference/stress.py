"""How a network's answers change when slices are made worse; nobody needs to know the right answer."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_brain.evaluation.site import bounded_mean
from monai_brain.inference.apply import find_bundle, start_workflow
from monai_brain.inference.classification import Classification
from monai_brain.inference.session import LOADING
from monai_brain.inference.stream import CaseStream
from monai_brain.io import Image
from monai_brain.io.weights import find_weights
from monai_brain.io.write import manifest, sha256_of, write_json
from monai_brain.report.stress import write_stress_page
from monai_brain.transforms.corruptions import CORRUPTIONS, Corruption
from monai_brain.transforms.load import slices_of
from monai_brain.transforms.spatial import to_size_before

DEFAULT_SLICES = 100

RESULT = "stress.json"


class NothingToStress(ValueError):
    """No slice can be read."""


def stress_folder(
    folder: Path,
    output: Path,
    *,
    bundle: Path | None = None,
    weights: Path | None = None,
    slices: int = DEFAULT_SLICES,
    log: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Corrupt slices from all over a folder, and compare the network's answers with those before.

    Args:
        folder: of scans; of a volume the slice in the middle of those that the network would be shown is taken.
        output: gets `stress.json`, `stress.png` and `stress.html`.
        bundle: its folder; None: the repository's classifier.
        weights: a run's folder or a weight file; None: the bundle's own.
        slices: at most so many.
        log: called after each slice.

    Returns:
        What stands in `stress.json`.

    Raises:
        NothingToStress: no file can be read.
    """
    place = find_bundle(bundle)
    overrides = {"input_dir": str(folder), "weights": str(weights) if weights else None, "workers": 1}
    workflow = start_workflow(
        [place / "configs" / "inference.yaml"], "infer", run=list(LOADING), handlers=[], **overrides
    )
    workflow.run()
    network = _Network(workflow.parser.get_parsed_content)
    rows: list[np.ndarray] = []
    with contextlib.closing(_slices(network.stream, slices)) as found:
        for number, image in enumerate(found):
            rows.append(network.compare(image, [_corrupted(image, *way, number) for way in _ways()]))
            log()
    if not rows:
        raise NothingToStress(f"{folder}: no file can be read; monai-brain predict says why")
    measure = "flip rate" if network.is_classifier else "Dice with the mask before"
    result = {"slices": len(rows), "measure": measure, "corruptions": _figures(np.array(rows))}
    identity = {"folder": str(folder), "weights_sha256": sha256_of(find_weights(weights or place))}
    write_json(output / RESULT, {**manifest("stress", identity), **result})
    write_stress_page(output, result)
    return result


def _ways() -> list[tuple[Corruption, float]]:
    return [(own, strength) for own in CORRUPTIONS for strength in own.strengths]


class _Network:
    """A bundle's network with what comes before and after it."""

    def __init__(self, parsed: Callable[[str], Any]) -> None:
        self.network = parsed("network").eval()
        self.device = parsed("device")
        self.stream: CaseStream = parsed("dataset")
        self.task = parsed("task")
        self.is_classifier = isinstance(self.task, Classification)

    def compare(self, image: Image, others: Sequence[Image]) -> np.ndarray:
        """How the answers for changed slices differ from that for the slice itself, (len(others),).

        Of a classifier 1 where the class is another one, else 0. Of a segmenter the Dice of the mask with the mask
        before, moved as the slice was; NaN where both are empty, as nothing can be lost there.
        """
        logits = self._logits([image, *others])
        if self.is_classifier:
            labels = logits.argmax(dim=1).numpy()
            return (labels[1:] != labels[0]).astype(float)
        before, *after = (
            self._mask(own, one.pixels.shape[-2:]) for own, one in zip(logits, [image, *others], strict=True)
        )
        moved = [_moved(before, *way) for way in _ways()]
        return np.array([_dice(first, second) for first, second in zip(moved, after, strict=True)])

    def _logits(self, images: Sequence[Image]) -> torch.Tensor:
        """(N, K) or (N, 1, h, w), on the CPU."""
        pixels = [self.stream.deterministic({"image": image})["image"] for image in images]
        batch = torch.stack([self.stream.intensity({"image": own})["image"] for own in pixels])
        with torch.no_grad():
            return self.network(batch.to(self.device)).float().cpu()

    def _mask(self, logits: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
        """bool (H, W), of the slice's size, from (1, h, w)."""
        own = to_size_before(torch.sigmoid(logits)[0].numpy(), self.task.transforms, size)
        return np.asarray(own > self.task.threshold)


def _slices(stream: CaseStream, count: int) -> Generator[Image]:
    """One slice of each of at most `count` cases from all over the folder."""
    with contextlib.closing(stream.prepared_sample()) as cases:
        for number, prepared in enumerate(cases):
            position = prepared.wanted[len(prepared.wanted) // 2]
            yield slices_of(prepared.image)[position]
            if number + 1 == count:
                return


def _corrupted(image: Image, corruption: Corruption, strength: float, seed: int) -> Image:
    return image._replace(pixels=corruption.apply(image.pixels, strength, seed))


def _moved(mask: np.ndarray, corruption: Corruption, strength: float) -> np.ndarray:
    if not corruption.moves:
        return mask
    return np.asarray(corruption.apply(mask[None].astype(np.uint8) * np.uint8(255), strength, 0)[0] > 127)


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    pixels = first.sum() + second.sum()
    return float(2 * (first & second).sum() / pixels) if pixels else float("nan")


def _figures(rows: np.ndarray) -> list[dict[str, Any]]:
    """For each corruption its strengths, each with the mean over slices (N, ways) and its interval."""
    found = []
    for number, corruption in enumerate(CORRUPTIONS):
        first = number * len(corruption.strengths)
        means = [_mean(rows[:, first + place]) for place in range(len(corruption.strengths))]
        levels = [{"strength": own, **mean} for own, mean in zip(corruption.strengths, means, strict=True)]
        found.append({"name": corruption.name, "unit": corruption.unit, "levels": levels})
    return found


def _mean(values: np.ndarray) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    if not len(known):
        return {"slices": 0, "mean": None, "interval": None}
    mean, low, high = bounded_mean(known.tolist())
    return {"slices": len(known), "mean": mean, "interval": [low, high]}
