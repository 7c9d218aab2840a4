"""Optional dependencies, asked for at their door."""

import importlib
from types import ModuleType


class MissingDependency(ImportError):
    """An optional package is not installed; the message says what for and how to get it."""


def require(module: str, *, feature: str, install: str) -> ModuleType:
    """Import an optional module.

    Args:
        module: dotted module name, such as `nilearn.datasets`.
        feature: what needs it, as the user knows it: "the demo data".
        install: the command that installs it.

    Raises:
        MissingDependency: it is not installed, or its own import failed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingDependency(
            f"{feature} needs {package}, which could not be imported ({error}): {install}"
        ) from error
