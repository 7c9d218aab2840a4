"""What all commands share: the application, panels of the help, common options, where they print, how they end."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

EXIT_NOTHING, EXIT_FINDINGS = 2, 3

PREDICT, DATA, TRAIN, EVALUATE, OTHER = COMMAND_PANELS = ("Predict", "Data", "Train", "Evaluate", "Other")
"""Panels of commands, in the order in which `--help` shows them."""

INPUT, MODEL, OUTPUT, SPEED = "Input", "Model", "Output", "Speed"
"""Panels of options that several commands have."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Classify, outline and explain brain tumors on MR images, and measure how well that works. Research use only.",
    epilog="Example: monai-brain predict SCANS -o OUT",
)

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace existing output files of the same names.", rich_help_panel=OUTPUT)
]
"""Of every command that writes."""

Bundle = Annotated[
    Path | None,
    typer.Option(
        help="Bundle: a folder, or the name of one in the repository.",
        show_default="brain_tumor_classification",
        rich_help_panel=MODEL,
    ),
]

Weights = Annotated[
    Path | None,
    typer.Option(help="A run's folder or a weight file.", show_default="the bundle's", rich_help_panel=MODEL),
]

Seed = Annotated[int, typer.Option(help="Random seed; output is reproducible.", rich_help_panel=OUTPUT)]

Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Number of worker processes.", show_default="one per core", rich_help_panel=SPEED),
]

PATIENT_PATTERN = r"Regular expression for the patient in a path, such as 'patient_(\d+)'."

console = Console()
errors = Console(stderr=True, soft_wrap=True)


def example(*lines: str) -> str:
    """Last lines of a command's help.

    Args:
        lines: command lines, without the program's name.
    """
    title = "Examples:" if len(lines) > 1 else "Example:"
    return "\n\n".join([title, *(f"monai-brain {line}" for line in lines)])


def existing(path: Path, way_out: str) -> None:
    """Refuse what is not there before anything heavy is imported.

    Raises:
        FileNotFoundError: with the way out.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; {way_out}")


def refuse_given(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Refuse options that were typed although they have no effect.

    Args:
        context: of the command.
        names: of its parameters.
        why: what is said behind the options.

    Raises:
        typer.BadParameter: naming those that were given.
    """
    given = [name for name in names if is_given(context, name)]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise typer.BadParameter(f"{flags}: {why}")


def is_given(context: typer.Context, name: str) -> bool:
    """Whether a parameter was typed, rather than a default or from the environment."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def one_of(kind: str, own: Sequence[str]) -> Callable[[str], str]:
    """A parser of names that other packages can add to; see `extensions`.

    Args:
        kind: of extensions.
        own: this package's names.
    """
    from monai_brain.extensions import registered

    def parse(name: str) -> str:
        if name not in own and not registered(kind):  # what others add is judged where it is loaded
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(own)}")
        return name

    return parse


def completing(own: Sequence[str]) -> Callable[[str], list[str]]:
    """Completion of these names in the shell."""
    return lambda incomplete: [name for name in own if name.startswith(incomplete)]
