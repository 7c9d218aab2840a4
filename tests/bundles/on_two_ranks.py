"""What every process of `torchrun` runs in test_multi_gpu.py: a training, then its weights and metrics to a file."""

import json
import os
import sys
from pathlib import Path

import torch

from tests.bundles.running import workflow


def main(folder: Path, options: dict) -> None:
    files = ("train.yaml", "networks/vgg11_refined.yaml", "multi_gpu_train.yaml")
    run = workflow(*files, **options, output_dir=str(folder / "run"))
    run.run()
    evaluator = run.parser.get_parsed_content("validate::evaluator")
    network = run.parser.get_parsed_content("network")
    run.finalize()
    rank = os.environ["RANK"]
    torch.save(network.state_dict(), folder / f"rank_{rank}.pt")
    (folder / f"rank_{rank}.json").write_text(json.dumps(evaluator.state.metrics))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
