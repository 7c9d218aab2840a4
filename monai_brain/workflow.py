"""What every bundle config calls first: where its bundle is, and that no key in it is misspelt.

MONAI lets a config's expressions see other values of the config, but neither the file they stand in nor
the overrides of the command line. Both are known to the `ConfigWorkflow` that is evaluating them, which is
found on the call stack.
"""

import difflib
import errno
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai.bundle import ConfigWorkflow

RESERVED_KEYS = ("_meta_", "initialize", "run", "finalize")
"""Top-level keys that MONAI itself reads or adds."""

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says of a full disk, a quota that is used up, and a limit on the size of files. Of these a run ends,
and goes on when called again."""

EXIT_WRONG_USE, EXIT_ENVIRONMENT = 2, 5

USERS_ERRORS = (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError)
"""Of the system's errors, those that a user can mend; their text names the file."""


class UnknownKey(ValueError):
    """A config or the command line sets keys that no file of the bundle's `configs/` declares."""


def current() -> "ConfigWorkflow | None":
    """The workflow that is evaluating the calling expression; None outside of one."""
    from monai.bundle import ConfigWorkflow

    found = (frame.f_locals.get("self") for frame in _frames())
    return next((own for own in found if isinstance(own, ConfigWorkflow)), None)


def keep_overrides(workflow: "ConfigWorkflow", overrides: dict[str, Any]) -> None:
    """Note with a workflow which keys were set beside its config files; MONAI mixes both and keeps neither."""
    workflow.overrides = overrides


def overridden() -> set[str] | None:
    """Top-level keys that were set beside the running workflow's config files; None where that is not known.

    It is known of workflows that `keep_overrides` was called for, and of `python -m monai.bundle run`.
    """
    running = current()
    if running is None:
        return None
    given = vars(running).get("overrides")
    if given is None:
        given = _given_to_monai(running)
    return None if given is None else {re.split("::|#", key.lstrip("+"))[0] for key in given}


def _given_to_monai(running: "ConfigWorkflow") -> dict[str, Any] | None:
    """What the command line and its `args_file` say, of MONAI's `run` that is further up on the call stack."""
    from monai.bundle import scripts

    for frame in _frames():
        if frame.f_code is scripts.run.__code__ and frame.f_locals.get("workflow") is running:
            return dict(scripts.update_kwargs(frame.f_locals["args_file"], **frame.f_locals["override"]))
    return None


def _frames() -> Iterator[FrameType]:
    """The callers of the calling function, innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def root(default: str = ".") -> str:
    """The bundle's folder, whatever the working directory; `default` where no workflow is running."""
    workflow = current()
    return str(workflow.config_root_path.resolve().parent) if workflow else default


def refuse_unknown() -> None:
    """Stop when a key was set that no file in the bundle's `configs/` declares.

    Raises:
        UnknownKey: with every unknown key and the nearest declared one.
    """
    workflow = current()
    if workflow is None:
        return
    if _given_to_monai(workflow) is not None:
        sys.excepthook = _in_one_line
    unknown = unknown_keys(workflow.parser.config, declared_keys(workflow.config_root_path))
    if unknown:
        lines = [f"  {key}" + (f" (did you mean {near}?)" if near else "") for key, near in unknown.items()]
        where = workflow.config_root_path / "*.yaml"
        raise UnknownKey(
            "no such key, so it would be ignored:\n" + "\n".join(lines) + f"\nKeys are declared in {where}."
        )


def declared_keys(configs: Path) -> set[str]:
    """Dotted (`train::trainer`) keys that the files directly inside `configs` declare."""
    from monai.bundle import ConfigParser

    files = [f for f in sorted(configs.iterdir()) if f.suffix in (".yaml", ".yml", ".json") and f.stem != "metadata"]
    return {key for file in files for key in _keys(ConfigParser.load_config_file(str(file)))}


def unknown_keys(config: dict[str, Any], declared: set[str]) -> dict[str, str | None]:
    """Keys of `config` that are not `declared`, each with the nearest declared key or None."""
    found: dict[str, str | None] = {}
    for key in _keys(config):
        if key in declared or key.partition("::")[0] in RESERVED_KEYS or _inside(key, found):
            continue
        near = difflib.get_close_matches(key, declared, n=1)
        found[key] = near[0] if near else None
    return found


def exit_with(status: int) -> None:
    """End the process with `status`, unless it is 0: the last entry of a `run:` list.

    Raises:
        SystemExit: `status` is not 0.
    """
    if status:
        raise SystemExit(status)


def root_cause(error: BaseException) -> BaseException:
    """What an error was first, before others were raised from it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def message_for_users(error: BaseException) -> str | None:
    """The message of the first error behind all wrappers that was written for users; None if there is none."""
    link: BaseException | None = error
    while link is not None:
        if type(link).__module__.startswith("monai_brain") or isinstance(link, USERS_ERRORS):
            return str(link)
        link = link.__cause__
    return None


def _in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """For `python -m monai.bundle run`: what users can mend is one line and an exit code, the rest a traceback."""
    first = root_cause(error)
    if isinstance(first, OSError) and first.errno in NO_SPACE:
        message = f"{first}; finished work is kept; run the command again to continue (a training with --resume true)"
        status = EXIT_ENVIRONMENT
    else:
        message, status = message_for_users(error) or "", EXIT_WRONG_USE
    if not message:
        sys.__excepthook__(kind, error, trace)
        return
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(status)


def _inside(key: str, parents: dict[str, str | None]) -> bool:
    return any(key.startswith(f"{parent}::") for parent in parents)


def _keys(config: Any, prefix: str = "") -> Iterator[str]:
    """Keys of nested dictionaries, parents first; what a `_target_` takes is not ours to know."""
    if not isinstance(config, dict):
        return
    for key, value in config.items():
        name = prefix + str(key).lstrip("+")
        yield name
        if isinstance(value, dict) and "_target_" not in value:
            yield from _keys(value, f"{name}::")
