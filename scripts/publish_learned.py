"""Put hashes of what a bundle's weights learned from beside them, so that predictions warn of these slices.

python scripts/publish_learned.py BUNDLE DATALIST DATASET_DIR [--weights FOLDER] [--part training+validation]

A hash of 256 bits per slice, as the network sees it; no pixels.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose

from monai_brain.data.provenance import appearance_hash
from monai_brain.data.splits import load_datalist
from monai_brain.inference.apply import start_workflow
from monai_brain.inference.learned import LEARNED_SLICES, thumbnails_of
from monai_brain.io.weights import find_weights
from monai_brain.io.write import atomic

SLICES_AT_ONCE = 64


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("datalist", type=Path)
    parser.add_argument("dataset_dir", type=Path)
    parser.add_argument("--weights", type=Path, help="folder of the weights; by default the bundle")
    parser.add_argument("--part", default="training+validation", help="what they learned from")
    options = parser.parse_args()
    weights = find_weights(options.weights or options.bundle)
    preprocessing = recorded_preprocessing(options.bundle, weights)
    items = load_datalist(options.datalist, options.dataset_dir, options.part)
    hashes = []
    for batch in batches(items):
        images = torch.stack([torch.as_tensor(preprocessing({"image": item["image"]})["image"]) for item in batch])
        hashes.append(appearance_hash(thumbnails_of(images)))
    distinct = np.unique(np.concatenate(hashes), axis=0)
    target = weights.with_name(LEARNED_SLICES)
    with atomic(target, "wb") as file:
        np.save(file, distinct, allow_pickle=False)
    print(f"{target}: {len(distinct)} hashes of {len(items)} slices, {target.stat().st_size / 1e3:.0f} kB")
    return 0


def recorded_preprocessing(bundle: Path, weights: Path) -> Compose:
    """What brings a slice to the network that the weights belong to."""
    workflow = start_workflow([bundle / "configs" / "inference.yaml"], "infer", weights=str(weights), input_dir=".")
    workflow.parser["run"] = ["$adopt(@weights)"]
    workflow.run()
    return Compose(
        [
            *workflow.parser.get_parsed_content("deterministic_transforms"),
            *workflow.parser.get_parsed_content("intensity_transforms"),
        ]
    )


def batches(items: list) -> list[list]:
    return [items[start : start + SLICES_AT_ONCE] for start in range(0, len(items), SLICES_AT_ONCE)]


if __name__ == "__main__":
    sys.exit(main())
