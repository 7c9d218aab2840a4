"""What can be added from another installed package, without a change to this one; see docs/extending.md."""

import functools
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

T = TypeVar("T")


class BrokenExtension(ValueError):
    """An installed package registers something that cannot be used; the message names the package."""


@functools.cache
def registered(kind: str) -> dict[str, EntryPoint]:
    """Entry points of the group `monai_brain.KIND` by name, in alphabetical order; nothing is imported.

    Args:
        kind: such as `formats`.

    Raises:
        BrokenExtension: two packages register the same name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=f"monai_brain.{kind}"), key=lambda own: own.name):
        if entry.name in found:
            raise BrokenExtension(
                f"{_package(entry)} and {_package(found[entry.name])} both register {entry.name!r} in "
                f"monai_brain.{kind}; uninstall one of them"
            )
        found[entry.name] = entry
    return found


class Registry(Mapping[str, T]):
    """Things by name: the package's own, then those of other installed packages, each imported when it is asked for.

    Every process finds the same, workers too: what is installed does not depend on what was imported before.

    Args:
        kind: others register theirs as entry points of the group `monai_brain.KIND`.
        expected: class that everything registered is an instance of, or a subclass.
        own: the package's own, which no other package can replace.
    """

    def __init__(self, kind: str, expected: type, own: Mapping[str, T]) -> None:
        self.kind = kind
        self.expected = expected
        self._known = dict(own)

    def __getitem__(self, name: str) -> T:
        if name not in self._known:
            self._known[name] = self._load(self._others[name])
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._known, **self._others})

    def __len__(self) -> int:
        return len(list(iter(self)))

    @functools.cached_property
    def _others(self) -> dict[str, EntryPoint]:
        for name, entry in registered(self.kind).items():
            if name in self._known:
                raise BrokenExtension(
                    f"{_package(entry)} registers {name!r} in monai_brain.{self.kind}, a name already in use; "
                    "uninstall it or rename its entry point"
                )
        return registered(self.kind)

    def _load(self, entry: EntryPoint) -> Any:
        try:
            found = entry.load()
        except Exception as error:
            raise BrokenExtension(
                f"{_package(entry)}: its {entry.name!r} of monai_brain.{self.kind} cannot be imported "
                f"({type(error).__name__}: {error}); fix or uninstall it"
            ) from error
        if not (isinstance(found, self.expected) or (isinstance(found, type) and issubclass(found, self.expected))):
            raise BrokenExtension(
                f"{_package(entry)}: {entry.value} of monai_brain.{self.kind} is not a {self.expected.__name__}"
            )
        return found


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "a package"
