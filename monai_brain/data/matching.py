"""Match images and masks by folder and file name."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

MASK_SUFFIXES = ("_mask", *(f"{joint}{word}" for word in ("seg", "segm", "segmentation") for joint in "_-"))
"""At the end of a mask's name, in any case, beside its image: as in the LGG segmentation data set, and in BraTS."""

IMAGE_FOLDERS, MASK_FOLDERS = ("images", "image", "imgs"), ("masks", "mask", "labels")
"""Names of the two folders, in the other layout; compared in lower case."""

SHOWN = 3
"""Most names listed in one error message."""


class InvalidPairs(ValueError):
    """Images and masks that do not match or cannot be split; the message says what to do."""


def is_mask(identity: str) -> bool:
    """Whether a file, by its path relative to the folder that was searched, is a mask."""
    path = PurePosixPath(identity)
    return name_of(path).lower().endswith(MASK_SUFFIXES) or path.parts[0].lower() in MASK_FOLDERS


def place_of(identity: str) -> str:
    """What an image and its mask have in common: their path without suffixes, `images/` and `masks/`."""
    path = PurePosixPath(identity)
    inside = path.parts[0].lower() in (*IMAGE_FOLDERS, *MASK_FOLDERS)
    folder = PurePosixPath(*path.parts[1:-1]) if inside else path.parent
    name = name_of(path)
    for suffix in MASK_SUFFIXES:
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    return (folder / name).as_posix()


def name_of(path: PurePosixPath) -> str:
    """A file's name without its suffix, `.nii.gz` being one."""
    return path.name[: -len(".nii.gz")] if path.name.lower().endswith(".nii.gz") else path.stem


def by_place(identities: Iterable[str]) -> dict[str, str]:
    """The only file of each place.

    Raises:
        InvalidPairs: two have one place.
    """
    places: dict[str, str] = {}
    for identity in identities:
        other = places.setdefault(place_of(identity), identity)
        if other != identity:
            raise InvalidPairs(f"{other} and {identity} would have the same key; remove one of them")
    return places


def refuse_unpaired(
    folder: Path, images: Mapping[str, str], masks: Mapping[str, str], skipped: Mapping[str, str]
) -> None:
    """Refuse images without a mask, and masks without an image.

    Args:
        folder: for the message.
        images: by place.
        masks: by place.
        skipped: links and folders that were not followed, where they may be; codes by path.

    Raises:
        InvalidPairs: naming some of them.
    """
    for own, other, lacks in ((images, masks, "mask"), (masks, images, "image")):
        lonely = sorted(own[place] for place in set(own) - set(other))
        if lonely:
            said = f"; not followed: {listed(skipped)}" if skipped else ""
            raise InvalidPairs(
                f"{folder}: {len(lonely)} file(s) without their {lacks}: {shown(lonely)}; add it, or take them "
                f"out{said}"
            )


def listed(codes: Mapping[str, str]) -> str:
    """Some paths with their codes."""
    return shown([f"{path} ({code})" for path, code in sorted(codes.items())])


def shown(names: Sequence[str]) -> str:
    """The first of them, and how many there are."""
    return ", ".join(names[:SHOWN]) + (f", ... ({len(names)} in all)" if len(names) > SHOWN else "")
