"""Fit the input check, and write it beside weights.

python scripts/fit_input_check.py --images NICKPARVAR --folds classification_v2.json --heads KAGGLE_3M
    --split segmentation_v2.json --demo DEMO -o bundles/brain_tumor_classification/models/input_check.safetensors

Fold 5 of the public slices and the patients that the split of the heads holds out are not looked at; fold 4 of each
gives the thresholds.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import torch
from input_check_images import Picture, demo_slices, lgg_slices, other_pictures, public_slices
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

from monai_brain.evaluation.input_check import KINDS, LEAST_STRIPPED, PLANES, as_network_input, thumbnail
from monai_brain.evaluation.intervals import draw_groups
from monai_brain.io.weights import write_weights
from monai_brain.networks.input_check import InputCheckNet

SHARES = {
    ("cheng", "t1c"): 0.12,
    ("lgg", "t1c"): 0.25,
    ("lgg", "t1"): 0.25,
    ("lgg", "flair"): 0.11,
    ("other", "flair"): 0.03,
    ("other", "t2"): 0.07,
    ("demo", "t1c"): 0.02,
    ("any", "not_a_head"): 0.15,
}
"""Of what the network learns from, by source and kind."""

ACCEPTED_REFUSALS, REQUIRED_REFUSALS, CONFIDENCE = 0.02, {"t1": 0.90, "flair": 0.90, "not_a_head": 0.95}, 0.95
"""Share of T1 with contrast that is refused at most, shares of other pictures that are refused at least, and the
confidence over validation patients."""

LIMITS = np.linspace(0.005, 0.6, 120)
"""Probabilities to choose from."""

OTHERS = 1600
BATCH, LEARNING_RATE, WEIGHT_DECAY, SMOOTHING = 64, 4e-3, 1e-2, 0.03
OF_LAYOUT, LEAST_DEVIATION = 3000, 1e-3
"""Heads that plane and skull are fitted on, as many again of those labeled by eye; added to deviations."""

STRIPPED, HEAD = 0.2, 0.1
"""Share of axial heads whose skull is removed, and what is brighter than that share of the brightest is head."""

PRINTED = 100
LEAST_VARIANCE = 1e-3
"""Added to the features' variances: some hardly vary."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--images", "--folds", "--heads", "--split", "--demo"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12000)
    options = parser.parse_args()
    public, heads = public_slices(options.images, options.folds), lgg_slices(options.heads, options.split)
    pictures = [
        own for own in chain(public, heads, demo_slices(options.demo), other_pictures(OTHERS, seed=0)) if own.kind
    ]
    training = [own for own in pictures if part_of(own) == "training"]
    network = fitted(training, options.steps)
    fit_layout(network, training)
    set_limits(network, pictures)
    write_weights(network, options.output, dtype=torch.float16)
    print(f"{options.output}: {options.output.stat().st_size / 1e3:.0f} kB, limits {network.limits.tolist()}")


def part_of(picture: Picture) -> str:
    """`training`, `validation`, or `test`, which no fitting looks at."""
    if picture.source in ("cheng", "other"):
        return {4: "validation", 5: "test"}.get(picture.fold, "training")
    if picture.source == "lgg":
        return {4: "validation", 0: "test"}.get(picture.fold, "training")
    return "validation" if picture.fold == 4 else "training"


def fitted(pictures: Sequence[Picture], steps: int) -> InputCheckNet:
    """A network that tells the kinds of pictures apart."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    random = np.random.default_rng(0)
    kinds = np.array([KINDS.index(own.kind) for own in pictures])
    keys = [("any" if own.kind == "not_a_head" else own.source, own.kind) for own in pictures]
    number = Counter(keys)
    weights = np.array([SHARES[key] / number[key] for key in keys])
    network = InputCheckNet(len(KINDS), len(PLANES)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    mean = 0.0
    for step in range(steps):
        chosen = random.choice(len(pictures), BATCH, p=weights / weights.sum())
        own = [seen_anew(pictures[index], random)[0] for index in chosen]
        inputs = as_network_input(varied(torch.from_numpy(np.stack(own))) * 255)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(inputs).kinds.float()
        loss = functional.cross_entropy(logits, torch.from_numpy(kinds[chosen]), label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        mean += loss.item() / PRINTED
        if step % PRINTED == PRINTED - 1:
            print(f"step {step + 1}: loss {mean:.3f}", flush=True)
            mean = 0.0
    return network.eval()


def fit_layout(network: InputCheckNet, pictures: Sequence[Picture]) -> None:
    """Fit plane and skull on what the convolutions see: logistic regressions, each plane and skull counting alike."""
    random = np.random.default_rng(1)
    known = [own for own in pictures if own.plane]
    by_eye = [own for own in known if own.source == "cheng"]
    drawn = [known[index] for index in random.choice(len(known), OF_LAYOUT)]
    chosen = [*drawn, *by_eye * (OF_LAYOUT // len(by_eye))]
    pixels, is_stripped = zip(*(seen_anew(own, random) for own in chosen), strict=True)
    with torch.inference_mode():
        parts = np.array_split(np.stack(pixels), len(chosen) // BATCH)
        layout = torch.cat([network.layout(as_network_input(part)) for part in parts]).numpy()
    scale = layout.std(axis=0) + LEAST_DEVIATION
    planes = [PLANES.index(own.plane) for own in chosen]
    for layer, target in ((network.plane, planes), (network.skull_stripped, is_stripped)):
        model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000).fit(layout / scale, target)
        layer.weight.data = torch.from_numpy(model.coef_ / scale).float()
        layer.bias.data = torch.from_numpy(model.intercept_).float()


def seen_anew(picture: Picture, random: np.random.Generator) -> tuple[np.ndarray, bool]:
    """A picture turned, stretched and mirrored, of an axial head at times what is within its skull; and whether."""
    is_stripped = picture.plane == "axial" and random.random() < STRIPPED
    pixels = thumbnail(without_skull(picture.pixels, random)) if is_stripped else picture.pixels
    turn = random.uniform(-0.3, 0.3) + (random.random() < 0.08) * np.pi / 2
    size, stretch = random.uniform(0.8, 1.25), random.uniform(0.88, 1.14)
    across = size * (-1 if random.random() < 0.5 else 1)
    down = size * (-1 if random.random() < 0.1 else 1)
    matrix = np.array(
        [[np.cos(turn) * across * stretch, -np.sin(turn) * down], [np.sin(turn) * across, np.cos(turn) * down]]
    )
    center = np.full(2, (len(pixels) - 1) / 2)
    shift = center - matrix @ center + random.uniform(-0.075, 0.075, 2) * len(pixels)
    return cv2.warpAffine(pixels, np.column_stack([matrix, shift]), pixels.shape), is_stripped


def without_skull(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The inside of an axial head, about where the skull ends: by the distance from its outline."""
    is_head = (pixels > HEAD * np.quantile(pixels, 0.99)).astype(np.uint8)
    outlines, _ = cv2.findContours(is_head, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(is_head), [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    depth = cv2.distanceTransform(filled, cv2.DIST_L2, 3)
    return np.where(depth > random.uniform(0.14, 0.3) * depth.max(), pixels, 0).astype(np.uint8)


def varied(pixels: Tensor) -> Tensor:
    """Brighter or darker, noisier or softer; (N, h, w), 0 to 1, from uint8."""
    images = pixels[:, None].float() / 255
    each = len(images), 1, 1, 1
    images = images ** torch.exp(_between(-0.45, 0.45, each))
    field = functional.interpolate(0.15 * torch.randn(len(images), 1, 3, 3), images.shape[2:], mode="bilinear")
    images = images * torch.exp(field) * _between(0.5, 1.3, each)
    noise = _between(0, 0.04, each) * (torch.rand(each) < 0.5) * torch.randn(images.shape)
    images = (images + noise).clamp(0, 1)
    return torch.where(torch.rand(each) < 0.2, functional.avg_pool2d(images, 3, 1, 1), images)[:, 0]


def _between(low: float, high: float, shape: tuple[int, ...]) -> Tensor:
    return low + (high - low) * torch.rand(shape)


def set_limits(network: InputCheckNet, pictures: Sequence[Picture]) -> None:
    """Center and spread of T1 with contrast by its training slices, limits by validation pictures.

    The probability is the most lenient one whose lower bounds of refused other pictures are `REQUIRED_REFUSALS`; the
    upper bound of refused T1 with contrast, both real sources counting alike, must then be within `ACCEPTED_REFUSALS`.
    The distance is a safety net: it refuses no validation slice of T1 with contrast of the average source. Source:
    A. N. Angelopoulos et al., Learn then Test, 2021, for thresholds by bounds of a risk.
    """
    real = [own for own in pictures if own.kind == "t1c" and own.source in ("cheng", "lgg")]
    validation = [own for own in pictures if part_of(own) == "validation"]
    with torch.inference_mode():
        features = network.features(_inputs([own for own in real if part_of(own) == "training"]))
        network.center.copy_(features.mean(dim=0))
        variances, axes = torch.linalg.eigh(torch.cov(features.T))
        network.whitening.copy_(axes / (variances + LEAST_VARIANCE).sqrt())
        good = [
            [own for own in validation if own.kind == "t1c" and own.source == source] for source in ("cheng", "lgg")
        ]
        most = float(np.mean([network(_inputs(own)).distances.max() for own in good]))
        shares = np.mean([_refused(network, own, most) for own in good], axis=0)
        least = max(
            LIMITS[np.quantile(_refused(network, own, most), 1 - CONFIDENCE, axis=1) >= required].min()
            for kind, required in REQUIRED_REFUSALS.items()
            if (own := [one for one in validation if one.kind == kind])
        )
        upper = float(np.quantile(shares[least == LIMITS], CONFIDENCE))
        print(f"T1 with contrast: at most {upper:.3f} of validation slices refused, with {CONFIDENCE:.0%} confidence")
        if upper > ACCEPTED_REFUSALS:
            raise SystemExit(f"no limit refuses enough of other pictures and at most {ACCEPTED_REFUSALS} of these")
        network.limits.copy_(torch.tensor([least, most]))


def _refused(network: InputCheckNet, pictures: Sequence[Picture], most_distance: float) -> np.ndarray:
    """Shares refused at each of `LIMITS`, in resamples of patients, (limits, draws)."""
    outputs = network(_inputs(pictures))
    otherwise = (outputs.distances > most_distance) | (outputs.skull_stripped.sigmoid() >= LEAST_STRIPPED)
    refused = (outputs.kinds.softmax(dim=1)[:, 0].numpy() < LIMITS[:, None]) | otherwise.numpy()
    names = [own.group if own.kind != "not_a_head" else str(number) for number, own in enumerate(pictures)]
    patients = np.unique(names, return_inverse=True)[1]
    weights = draw_groups(patients.max() + 1)
    by_patient = np.stack([np.bincount(patients, own) for own in refused])
    return (by_patient @ weights.T) / (np.bincount(patients) @ weights.T)


def _inputs(pictures: Sequence[Picture]) -> Tensor:
    return as_network_input(np.stack([own.pixels for own in pictures]))


if __name__ == "__main__":
    main()
