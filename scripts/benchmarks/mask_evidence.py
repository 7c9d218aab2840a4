"""Measure how much of the shipped segmenter's evidence lies inside reference masks of held-out patients.

python scripts/benchmarks/mask_evidence.py SLICES HELD_OUT -o FILE [--number 93] [--methods gradcam]

HELD_OUT is a datalist of slices with masks (monai-brain index-pairs --held-out); of its test part as many slices with
tumor of every patient are drawn at random as --number allows. Every mask that the segmenter finds in them is explained,
as `predict --explain` does. `scripts/publish_segmentation.py --evidence FILE` writes the table.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_brain.data.pairs import load_tumor_slices
from monai_brain.explain.methods import make_explainer
from monai_brain.explain.trust import head_mask, share_inside, to_gray, trust_of
from monai_brain.inference.apply import start_workflow
from monai_brain.inference.session import LOADING
from monai_brain.io.read import read_mask
from monai_brain.io.weights import find_weights
from monai_brain.io.write import sha256_of, write_json
from monai_brain.transforms.spatial import to_size_before

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "brain_tumor_segmentation"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--number", type=int, default=93)
    parser.add_argument("--methods", nargs="+", default=["gradcam"])
    options = parser.parse_args()
    workflow = start_workflow(
        [BUNDLE / "configs" / "inference.yaml"], "infer", run=list(LOADING), handlers=[], workers=0
    )
    workflow.run()
    parsed = workflow.parser.get_parsed_content
    network, layer, threshold = parsed("network").eval(), parsed("cam_layer"), parsed("threshold")
    transforms, intensity = parsed("deterministic_transforms"), parsed("intensity_transforms")
    rows = []
    for item in drawn(load_tumor_slices(options.held_out, options.slices, "test"), options.number):
        read = {"image": item["image"]}
        for transform in (*transforms, *intensity):
            read = transform(read)
        image, reference = torch.as_tensor(np.asarray(read["image"]))[None].float(), read_mask(Path(item["label"]))
        with torch.no_grad():
            found = torch.sigmoid(network(image)) > threshold
        about = {"image": Path(item["image"]).name, "group": item["group"], "found": bool(found.any())}
        rows += [
            {**about, "method": method, **measured(network, method, layer, image, found, reference, transforms)}
            for method in options.methods
            if found.any()
        ] or [about]
        print(rows[-1], flush=True)
    weights = sha256_of(find_weights(BUNDLE))
    write_json(options.output, {"layer": layer, "threshold": threshold, "weights": weights, "rows": rows})


def drawn(items: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """As many slices of every patient as come to at most `number`, at random."""
    by_patient = defaultdict(list)
    for item in items:
        by_patient[item["group"]].append(item)
    random = np.random.default_rng(0)
    each = max(1, number // len(by_patient))
    return [own[place] for own in by_patient.values() for place in sorted(random.permutation(len(own))[:each])]


def measured(
    network: torch.nn.Module,
    method: str,
    layer: str,
    image: torch.Tensor,
    found: torch.Tensor,
    reference: np.ndarray,
    transforms: list[Any],
) -> dict[str, Any]:
    """Shares of a map's mass: in the head and the found mask as `predict` gives them, and in the reference."""
    with make_explainer(method, network, layer, segmenter=True) as explainer:
        heat = explainer(image, found)[0, 0].numpy()
    seen = to_gray(image[0].numpy())
    trust = trust_of(heat, seen, found[0, 0].numpy())
    size = (reference.shape[0], reference.shape[1])
    shown = to_size_before(heat, transforms, size)
    head = to_size_before(head_mask(seen).astype(np.float32), transforms, size)
    return {
        "inside_head": trust.inside_head,
        "inside_found": trust.inside_mask,
        "warnings": list(trust.warnings),
        "inside_reference": share_inside(shown, reference),
        "reference_of_head": share_inside(head, reference),
        "peak_in_reference": bool(reference.ravel()[shown.argmax()]) if shown.any() else None,
    }


if __name__ == "__main__":
    main()
