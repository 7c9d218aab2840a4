"""What all commands share: the application they belong to, where they print, how they end."""

import signal
from typing import Annotated

import typer
from rich.console import Console

EXIT_WRONG_USE, EXIT_FINDINGS, EXIT_ENVIRONMENT, EXIT_STOPPED = 2, 3, 5, 128 + signal.SIGTERM

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

console = Console()
errors = Console(stderr=True, soft_wrap=True)
