"""The command line: parses, calls, prints. What a command does lives elsewhere, and is imported when it runs."""

import errno
import signal
import sys
from typing import Annotated, Any

import typer

from monai_brain import __version__
from monai_brain.cli import data, models, scans  # noqa: F401  (each adds its commands to the application)
from monai_brain.cli.shared import EXIT_ENVIRONMENT, EXIT_STOPPED, EXIT_WRONG_USE, app, console, errors

__all__ = ["app", "main"]

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

USERS_ERRORS = (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError)
"""Of the system's errors, those that a user can mend; their text names the file."""


def main() -> None:
    """Entry point: what users can mend is one line on the error output, everything else a traceback."""
    signal.signal(signal.SIGTERM, _stopped)
    try:
        app()
    except _Stopped:
        sys.exit(EXIT_STOPPED)
    except Exception as error:
        if _is_environment(error):
            errors.print(f"error: {_root(error)}; what was done is kept, call again to go on", markup=False)
            sys.exit(EXIT_ENVIRONMENT)
        message = _for_users(error)
        if message is None:
            raise
        errors.print(f"error: {message}", markup=False, highlight=False)
        sys.exit(EXIT_WRONG_USE)


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(__version__)
        raise typer.Exit


class _Stopped(BaseException):
    """The system asked to end; goes through every `finally`, so that nothing is left half-written."""


def _stopped(number: int, frame: Any) -> None:
    raise _Stopped


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_environment(error: BaseException) -> bool:
    """Whether disk or memory ran out."""
    root = _root(error)
    if isinstance(root, RuntimeError):
        from monai_brain.inference.preparing import OUT_OF_MEMORY

        return any(words in str(root) for words in OUT_OF_MEMORY)
    return isinstance(root, MemoryError) or (isinstance(root, OSError) and root.errno in NO_SPACE)


def _for_users(error: BaseException) -> str | None:
    """The message of the first error behind all wrappers that was written for users; None if there is none."""
    link: BaseException | None = error
    while link is not None:
        if type(link).__module__.startswith("monai_brain") or isinstance(link, USERS_ERRORS):
            return str(link)
        link = link.__cause__
    return None
