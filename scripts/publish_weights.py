"""Put the weights of a training run into its bundle, as half precision, with the run's manifest.

python scripts/publish_weights.py RUN BUNDLE [--threshold P]

A segmenter's threshold travels with the weights and is the default of predictions. Without the option it is the one
that the run's own evaluation chose, if there is one.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from publishing import without_folders
from safetensors.torch import load_file
from torch import Tensor

from monai_brain.data.splits import read_datalist, seen_by_weights
from monai_brain.io.settings import CHOSEN_KEYS, read, read_chosen
from monai_brain.io.weights import encoded_weights
from monai_brain.io.write import atomic, sha256_of, write_json
from monai_brain.training.run import LEARNED_FROM, trained_part

LARGEST_BYTES = 40_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished training run")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threshold", type=probability)
    options = parser.parse_args()
    source = options.run / "model.safetensors"
    target = options.bundle / "models" / "model.safetensors"
    manifest = json.loads((options.run / "run.json").read_text(encoding="utf-8"))
    if "result" not in manifest:
        sys.exit(f"{options.run}: is not finished; train on with --resume true")
    weights = {name: halved(name, tensor) for name, tensor in load_file(source).items()}
    if not all(t.isfinite().all() for t in weights.values()):
        sys.exit(f"{source}: some weights are too large for half precision")
    chosen = {key: value for key, value in vars(options).items() if key in CHOSEN_KEYS and value is not None}
    settings = read(options.run)
    if settings is None:
        sys.exit(f"{options.run}: no settings recorded with these weights; train again")
    settings |= read_chosen(options.run) | chosen
    content = encoded_weights(weights, settings)
    if len(content) > LARGEST_BYTES:
        sys.exit(
            f"{source}: takes {len(content) / 1e6:.0f} MB in half precision; at most {LARGEST_BYTES / 1e6:.0f} are kept"
        )
    with atomic(target, "wb") as file:
        file.write(content)
    manifest["result"]["weights_sha256"] = sha256_of(target)
    manifest["settings"] = settings
    seen = seen_by_weights(read_datalist(options.run / "datalist.json"), trained_part(options.run))
    manifest[LEARNED_FROM] = " ".join(seen)
    write_json(target.with_name("run.json"), without_paths(manifest))
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, SHA-256 {sha256_of(target)}")
    return 0


def halved(name: str, tensor: Tensor) -> Tensor:
    """In half precision; but for means and variances of batch norm, which are few and can be beyond its range."""
    return tensor if tensor.dtype != torch.float32 or ".running_" in name else tensor.half()


def probability(word: str) -> float:
    if not 0 <= (value := float(word)) <= 1:
        raise argparse.ArgumentTypeError(f"{word} is no probability")
    return value


def without_paths(manifest: dict) -> dict:
    """Folders of the machine that trained become their names' last parts."""
    return json.loads(without_folders(json.dumps(manifest)))


if __name__ == "__main__":
    sys.exit(main())
