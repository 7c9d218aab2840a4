"""The command line: parses, calls, prints. What a command does lives elsewhere, and is imported when it runs."""

import errno
import getpass
import os
import signal
import sys
from typing import Annotated, Any, Literal

import typer
from typer import completion

from monai_brain import __version__
from monai_brain.cli import training  # noqa: F401  (adds its command, which is to be the first in its panel)

# isort: split
from monai_brain.cli import data, evaluation, models, scans, trust  # noqa: F401  (each adds its commands)
from monai_brain.cli.shared import COMMAND_PANELS, app, console, errors
from monai_brain.workflow import EXIT_ENVIRONMENT, EXIT_WRONG_USE, NO_SPACE, message_for_users, root_cause

__all__ = ["app", "main"]

completion.completion_init()  # Typer does it for its own options only, which cannot be told the name of a shell
app.registered_commands.sort(key=lambda command: COMMAND_PANELS.index(str(command.rich_help_panel)))

USED_UP = (*NO_SPACE, errno.EMFILE, errno.ENFILE)
"""Of the system's errors, those of a disk, and of open files, that there are no more of."""


def main() -> None:
    """Entry point: what users can mend is one line on the error output, everything else a traceback."""
    for number in STOPS:
        signal.signal(number, _stopped)
    _give_user_a_name()
    try:
        app()
    except _Stopped as stop:
        errors.print(f"stopped ({stop.signal.name}); to continue a folder run, run the command again", markup=False)
        sys.exit(128 + stop.signal)
    except Exception as error:
        if (used_up := _used_up(error)) is not None:
            errors.print(f"error: {used_up}", markup=False, highlight=False)
            sys.exit(EXIT_ENVIRONMENT)
        message = message_for_users(error)
        if message is None:
            raise
        errors.print(f"error: {message}", markup=False, highlight=False)
        sys.exit(EXIT_WRONG_USE)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    show_completion: Annotated[
        Literal["bash", "zsh", "fish", "powershell"] | None,
        typer.Option(help="Print the script that adds completion to this shell."),
    ] = None,
) -> None:
    if version:
        console.print(__version__)
        raise typer.Exit
    if show_completion is not None:
        variable = "_MONAI_BRAIN_COMPLETE"
        script = completion.get_completion_script(prog_name="monai-brain", complete_var=variable, shell=show_completion)
        typer.echo(script)
        raise typer.Exit


STOPS = (signal.SIGINT, signal.SIGTERM)


class _Stopped(BaseException):
    """The user or the system asked to end; goes through every `finally`, so that nothing is left half-written."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)


def _stopped(number: int, frame: Any) -> None:
    for other in STOPS:
        signal.signal(other, signal.SIG_DFL)  # asked twice, it ends at once
    raise _Stopped(number)


def _give_user_a_name() -> None:
    """MONAI asks for it when it is imported, and fails where containers run under a number that has none."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())


def _used_up(error: BaseException) -> str | None:
    """What is said where disk, memory or the output folder were used up or taken away; None for other errors."""
    root = root_cause(error)
    if isinstance(root, RuntimeError):
        from monai_brain.inference.preparation import OUT_OF_MEMORY

        is_so = any(words in str(root) for words in OUT_OF_MEMORY)
    elif isinstance(root, OSError):
        lock = sys.modules.get("monai_brain.io.lock")  # importing it would take seconds
        if lock is not None and isinstance(root, lock.FolderUnavailable):
            return str(root)
        is_so = root.errno in USED_UP
    else:
        is_so = isinstance(root, MemoryError)
    return f"{root}; finished work is kept; run the command again to continue" if is_so else None
