"""Pages of the documentation site that are made from the code: a hook of mkdocs (see mkdocs.yml)."""

import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from monai_brain.cli import app

ROOT = Path(__file__).resolve().parents[1]
BUNDLES = ("brain_tumor_classification", "brain_tumor_segmentation")

PYTHON = """# Python

::: monai_brain.io.cases.find_cases
::: monai_brain.io.read.read_case
::: monai_brain.data.index.index_folder
::: monai_brain.data.splits.load_datalist
::: monai_brain.data.pairs.find_pairs
::: monai_brain.inference.apply.predict_folder
::: monai_brain.inference.options.FolderRunOptions
::: monai_brain.networks.vgg.VGG
::: monai_brain.networks.refinement.RefinedVGG
::: monai_brain.networks.mobilenet.MobileNetV2
::: monai_brain.networks.unet_vgg16.UNetVGG16
"""

KNOB = re.compile(r"^(?P<key>\w+): (?P<default>.*?)(?:\s{2,}# (?P<meaning>.*))?$")


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    pages = {
        "index.md": _home(),
        "reference/cli.md": _command_line(),
        "reference/config.md": "# Configuration\n\n" + "\n".join(_knobs(name) for name in BUNDLES),
        "reference/python.md": PYTHON,
        **{f"reference/{name}.md": _read(f"bundles/{name}/docs/README.md") for name in BUNDLES},
    }
    for place, content in pages.items():
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to model cards, which lie outside of docs/, to their pages on the site."""
    depth = "../" * page.file.src_uri.count("/")
    return re.sub(r"\((?:\.\./)*bundles/(\w+)/docs/README\.md\)", rf"({depth}reference/\1.md)", markdown)


def _home() -> str:
    """The README, with its links as they are inside of docs/; files beside it are named only."""
    text = _read("README.md").replace("](docs/", "](")
    return re.sub(r"\[([^\]]+)\]\((?:CONTRIBUTING\.md|CITATION\.cff|SECURITY\.md)\)", r"`\1`", text)


def _command_line() -> str:
    command = typer.main.get_command(app)
    return get_docs_for_click(obj=command, ctx=typer.Context(command), name="monai-brain", title="Command line")


def _knobs(bundle: str) -> str:
    """What `train.yaml` sets at its top, as a table."""
    rows = [f"## {bundle}\n", "| key | default | meaning |", "|---|---|---|"]
    section = _read(f"bundles/{bundle}/configs/train.yaml").partition("# knobs\n")[2].partition("\n\n")[0]
    for line in section.splitlines():
        if found := KNOB.match(line):
            default = found["default"].strip().replace("|", "\\|")
            rows.append(f"| `{found['key']}` | `{default}` | {found['meaning'] or ''} |")
    return "\n".join(rows) + "\n"


def _read(place: str) -> str:
    return (ROOT / place).read_text(encoding="utf-8")
