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

from monai_brain.evaluation.input_check import KINDS, PLANES, as_network_input, thumbnail
from monai_brain.io.weights import write_weights
from monai_brain.networks.input_check import InputCheckNet

SHARES = {
    ("cheng", "t1c"): 0.13,
    ("lgg", "t1c"): 0.23,
    ("lgg", "t1"): 0.22,
    ("lgg", "flair"): 0.13,
    ("other", "flair"): 0.03,
    ("other", "t2"): 0.07,
    ("demo", "t1c"): 0.03,
    ("any", "not_a_head"): 0.16,
}
"""Of what the network learns from, by source and kind."""

REFUSED_PROBABILITY, REFUSED_DISTANCE = 0.008, 0.002
"""Shares of validation slices of T1 with contrast that either limit refuses."""

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
    parser.add_argument("--steps", type=int, default=6000)
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
    """Center and spread of T1 with contrast by its training slices, limits by its validation slices.

    Both sources of real slices count alike.
    """
    real = [own for own in pictures if own.kind == "t1c" and own.source in ("cheng", "lgg")]
    with torch.inference_mode():
        features = network.features(_inputs([own for own in real if part_of(own) == "training"]))
        network.center.copy_(features.mean(dim=0))
        variances, axes = torch.linalg.eigh(torch.cov(features.T))
        network.whitening.copy_(axes / (variances + LEAST_VARIANCE).sqrt())
        by_source = []
        for source in ("cheng", "lgg"):
            own = [own for own in real if part_of(own) == "validation" and own.source == source]
            outputs = network(_inputs(own))
            by_source.append((outputs.kinds.softmax(dim=1)[:, 0].numpy(), outputs.distances.numpy()))
        least = np.mean([np.quantile(own, REFUSED_PROBABILITY) for own, _ in by_source])
        most = np.mean([np.quantile(own, 1 - REFUSED_DISTANCE) for _, own in by_source])
        network.limits.copy_(torch.tensor([least, most]))


def _inputs(pictures: Sequence[Picture]) -> Tensor:
    return as_network_input(np.stack([own.pixels for own in pictures]))


if __name__ == "__main__":
    main()
