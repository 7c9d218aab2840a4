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

import numpy as np
import torch
from input_check_images import Picture, demo_slices, lgg_slices, other_pictures, public_slices
from torch import Tensor
from torch.nn import functional

from monai_brain.evaluation.input_check import KINDS, as_network_input
from monai_brain.io.weights import load_weights, write_weights
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

REFUSED_PROBABILITY, REFUSED_DISTANCE = 0.012, 0.003
"""Shares of validation slices of T1 with contrast that either limit refuses."""

OTHERS = 1600
BATCH, LEARNING_RATE, WEIGHT_DECAY, SMOOTHING = 64, 4e-3, 1e-2, 0.03
LEAST_VARIANCE = 1e-3
"""Added to the features' variances: some hardly vary."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--images", "--folds", "--heads", "--split", "--demo"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--start", type=Path, help="a check that was fitted before, to go on from")
    options = parser.parse_args()
    public, heads = public_slices(options.images, options.folds), lgg_slices(options.heads, options.split)
    pictures = [
        own for own in chain(public, heads, demo_slices(options.demo), other_pictures(OTHERS, seed=0)) if own.kind
    ]
    network = fitted([own for own in pictures if part_of(own) == "training"], options.steps, options.start)
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


def fitted(pictures: Sequence[Picture], steps: int, start: Path | None = None) -> InputCheckNet:
    """A network that tells the kinds of pictures apart; from random numbers, or from an earlier one's."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    pixels = np.stack([own.pixels for own in pictures])
    kinds = torch.tensor([KINDS.index(own.kind) for own in pictures])
    keys = [("any" if own.kind == "not_a_head" else own.source, own.kind) for own in pictures]
    number = Counter(keys)
    weights = torch.tensor([SHARES[key] / number[key] for key in keys], dtype=torch.double)
    network = InputCheckNet(len(KINDS))
    if start is not None:
        load_weights(network, start)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for step in range(steps):
        chosen = torch.multinomial(weights, BATCH, replacement=True)
        logits, _ = network(as_network_input(varied(torch.from_numpy(pixels[chosen.numpy()])) * 255))
        loss = functional.cross_entropy(logits, kinds[chosen], label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    return network.eval()


def varied(pixels: Tensor) -> Tensor:
    """Turned, stretched, mirrored, brighter or darker, noisier or softer; (N, h, w), 0 to 1, from uint8."""
    images = _moved(pixels[:, None].float() / 255).clamp(0, 1)
    each = len(images), 1, 1, 1
    images = images ** torch.exp(_between(-0.45, 0.45, each))
    field = functional.interpolate(0.15 * torch.randn(len(images), 1, 3, 3), images.shape[2:], mode="bicubic")
    images = images * torch.exp(field) * _between(0.5, 1.3, each)
    noise = _between(0, 0.04, each) * (torch.rand(each) < 0.5) * torch.randn(images.shape)
    images = (images + noise).clamp(0, 1)
    return torch.where(torch.rand(each) < 0.2, functional.avg_pool2d(images, 3, 1, 1), images)[:, 0]


def _moved(images: Tensor) -> Tensor:
    number = len(images)
    turn = _between(-0.3, 0.3, number) + (torch.rand(number) < 0.08) * torch.pi / 2
    size, stretch = _between(0.8, 1.25, number), _between(0.88, 1.14, number)
    across = torch.where(torch.rand(number) < 0.5, -size, size)
    down = torch.where(torch.rand(number) < 0.1, -size, size)
    rows = (
        torch.stack([turn.cos() * across * stretch, -turn.sin() * down, _between(-0.15, 0.15, number)], dim=1),
        torch.stack([turn.sin() * across, turn.cos() * down, _between(-0.15, 0.15, number)], dim=1),
    )
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _between(low: float, high: float, shape: int | tuple[int, ...]) -> Tensor:
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
            logits, distances = network(_inputs(own))
            by_source.append((logits.softmax(dim=1)[:, 0].numpy(), distances.numpy()))
        least = np.mean([np.quantile(own, REFUSED_PROBABILITY) for own, _ in by_source])
        most = np.mean([np.quantile(own, 1 - REFUSED_DISTANCE) for _, own in by_source])
        network.limits.copy_(torch.tensor([least, most]))


def _inputs(pictures: Sequence[Picture]) -> Tensor:
    return as_network_input(np.stack([own.pixels for own in pictures]))


if __name__ == "__main__":
    main()
