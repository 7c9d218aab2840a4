"""What all commands share: the application they belong to, where they print, how they end."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

EXIT_FINDINGS = 3

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Brain tumors on MR images: classify, explain, and measure honestly. Research use only.",
)
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files of the same names; without it, nothing is replaced.")
]
"""Of every command that writes."""

Bundle = Annotated[
    Path | None, typer.Option(help="Bundle: a folder or a name; by default the repository's classifier.")
]

console = Console()
errors = Console(stderr=True, soft_wrap=True)


def existing(path: Path, way_out: str) -> None:
    """Refuse what is not there before anything heavy is imported.

    Raises:
        FileNotFoundError: with the way out.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; {way_out}")
