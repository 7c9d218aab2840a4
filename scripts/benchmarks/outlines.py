"""Measure how much of a classifier's evidence lies inside hand-drawn outlines, by method, layer and class.

python scripts/benchmarks/outlines.py RUN IMAGES OUTLINES -o FILE [--part test] [--per-class 100] [--layers ...]

RUN is a training whose datalist says `cheng_index` and `mirrored`, OUTLINES a file of lines with `index` and `outline`,
a polygon in a slice of 512x512. Slices are drawn at random from one part, the same for every method. With --layers,
all methods but occlusion look at each of them; else at the run's own. `scripts/publish_explanations.py` makes a page of
such files.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from monai_brain.data.splits import read_datalist
from monai_brain.explain.methods import make_explainer
from monai_brain.explain.trust import head_mask, iou_at_matched_area, removal_drop, share_inside, to_gray, trust_of
from monai_brain.inference.apply import find_bundle, start_workflow
from monai_brain.inference.session import LOADING
from monai_brain.io.write import sha256_of, write_json
from monai_brain.transforms.spatial import to_size_before

DRAWN_AT = 512
"""Side of the slices that the outlines were drawn on, in pixels."""

METHODS = ("gradcam", "gradcam++", "occlusion")

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("outlines", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--part", default="test")
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--layers", nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    network, transforms, intensity, layer, class_names = loaded(options.run)
    items = drawn(read_datalist(options.run / "datalist.json")[options.part], options.per_class, options.seed)
    slices = list(prepared(items, options.images, read_outlines(options.outlines), transforms, intensity))
    for one in slices:
        with torch.no_grad():
            one["probabilities"] = torch.softmax(network(one["image"]), dim=1)
    rows: list[dict[str, Any]] = []
    for method in options.methods:
        for place in (options.layers or [layer]) if method != "occlusion" else [None]:
            rows += [
                {"method": method, "layer": place, **row}
                for row in measured(network, method, place, slices, transforms)
            ]
            print(method, place or "", flush=True)
    about = {key: getattr(options, key) for key in ("part", "per_class", "seed")}
    about |= {"network": json.loads((options.run / "run.json").read_text())["options"]["name"], "layer": layer}
    about |= {"run": "/".join(options.run.parts[-3:]), "class_names": class_names, "slices": len(slices)}
    write_json(options.output, {**about, "weights": sha256_of(options.run / "model.safetensors"), "rows": rows})


def loaded(run: Path) -> tuple[torch.nn.Module, list[Any], list[Any], str, list[str]]:
    """Network and preprocessing of a run."""
    config = [find_bundle(None) / "configs" / "inference.yaml"]
    workflow = start_workflow(config, "infer", run=list(LOADING), handlers=[], weights=str(run), workers=0)
    workflow.run()
    keys = ("network", "deterministic_transforms", "intensity_transforms", "cam_layer", "class_names")
    network, *others = (workflow.parser.get_parsed_content(key) for key in keys)
    return network.eval(), *others


def drawn(items: list[dict[str, Any]], per_class: int, seed: int) -> list[dict[str, Any]]:
    """Of every class so many slices, of tumors those with an outline; no tumor has none."""
    random = np.random.default_rng(seed)
    chosen = []
    tumors = {item["label"] for item in items if "cheng_index" in item}
    for label in sorted({item["label"] for item in items}):
        own = [item for item in items if item["label"] == label and (label not in tumors or "cheng_index" in item)]
        own = [item for item in own if not item["image"].startswith("..")]  # those of another set have no outline
        chosen += [own[place] for place in sorted(random.permutation(len(own))[:per_class])]
    return chosen


def read_outlines(path: Path) -> dict[int, np.ndarray]:
    """Polygons (x, y) by the number of the slice, (P, 2) in shares of the slice's side."""
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {line["index"]: np.array(line["outline"]) / DRAWN_AT for line in lines}


def mask_of(outline: np.ndarray, mirrored: bool, size: tuple[int, int]) -> np.ndarray:
    """A polygon filled, bool (H, W)."""
    shares = np.array([[1.0, 0.0]]) + outline * [[-1.0, 1.0]] if mirrored else outline
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.rint(shares * size[::-1]).astype(np.int32)], 1)
    return mask > 0


def prepared(
    items: list[dict[str, Any]], images: Path, outlines: Mapping[int, np.ndarray], transforms: list, intensity: list
) -> Iterator[dict[str, Any]]:
    """Of each slice the network's input (1, C, H, W), the slice as it was read, and its mask if it has a tumor."""
    for item in items:
        read = {"image": str(images / item["image"])}
        sizes = []
        for transform in transforms:
            read = transform(read)
            sizes.append(np.shape(read["image"])[-2:])
        for transform in intensity:
            read = transform(read)
        outline = outlines.get(item.get("cheng_index", 0))
        mask = None if outline is None else mask_of(outline, item["mirrored"], sizes[0])
        image = torch.as_tensor(np.asarray(read["image"]))[None].float()
        yield {"item": item, "image": image, "size": sizes[0], "mask": mask}


def measured(
    network: torch.nn.Module, method: str, layer: str | None, slices: list[dict[str, Any]], transforms: list[Any]
) -> Iterator[dict[str, Any]]:
    """Where the mass of each slice's map lies, for the class that the network gave."""
    for start in range(0, len(slices), BATCH):
        batch = slices[start : start + BATCH]
        images, probabilities = (torch.cat([one[key] for one in batch]) for key in ("image", "probabilities"))
        before, answers = probabilities.max(dim=1)
        with make_explainer(method, network, layer) as explainer:
            maps = explainer(images, answers)
        drops = removal_drop(network, images, maps, answers, before=before)
        for one, heat, answer, drop in zip(batch, maps[:, 0].numpy(), answers.tolist(), drops.tolist(), strict=True):
            yield {
                "image": one["item"]["image"],
                "group": one["item"]["group"],
                "label": one["item"]["label"],
                "answer": answer,
                "drop": drop if heat.any() else None,
                **placed(heat, one, transforms),
            }


def placed(heat: np.ndarray, one: dict[str, Any], transforms: list[Any]) -> dict[str, Any]:
    """Shares of a map's mass: in the head as `predict` measures it, in the outline at the size of the slice."""
    seen = to_gray(one["image"][0].numpy())
    trust = trust_of(heat, seen)
    found: dict[str, Any] = {"inside_head": trust.inside_head, "warnings": list(trust.warnings)}
    if (mask := one["mask"]) is not None:
        full = to_size_before(heat, transforms, one["size"])
        head = to_size_before(head_mask(seen).astype(np.float32), transforms, one["size"])
        found |= {"outline_of_head": share_inside(head, mask), "iou": iou_at_matched_area(full, mask)}
        found |= {"inside_outline": share_inside(full, mask)}
        found |= {"peak_in_outline": bool(mask.ravel()[full.argmax()]) if full.any() else None}
    return found


if __name__ == "__main__":
    main()
