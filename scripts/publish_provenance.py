"""Write the hashes of known public slices that travel with the package.

python scripts/publish_provenance.py FOLDS IMAGES

FOLDS is a folds file whose items say `cheng_index`, `mirrored` and `fold`, IMAGES the folder of its images.
"""

import argparse
import os
from pathlib import Path

import numpy as np

from monai_brain.data.duplicates import fingerprints
from monai_brain.data.folds import read_folds
from monai_brain.data.provenance import appearance_hash
from monai_brain.io import Case

TARGET = Path(__file__).resolve().parents[1] / "monai_brain" / "data" / "known_slices.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path)
    parser.add_argument("images", type=Path)
    options = parser.parse_args()
    items = [item for item in read_folds(options.folds)["items"] if "copy_of" not in item]
    cases = [Case(item["image"], (options.images / item["image"],), "slice") for item in items]
    thumbnails = np.stack([found.thumbnail for found in fingerprints(cases, os.cpu_count() or 1)])
    np.savez_compressed(
        TARGET,
        hashes=appearance_hash(thumbnails),
        numbers=np.array([item.get("cheng_index", 0) for item in items], np.uint16),
        folds=np.array([item["fold"] for item in items], np.uint8),
        mirrored=np.array([bool(item.get("mirrored")) for item in items]),
    )
    print(f"{TARGET}: {len(items)} slices, {TARGET.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
