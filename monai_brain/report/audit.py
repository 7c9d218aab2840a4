"""Audit data sets before anything is trained on them: copies, leaks between parts, conflicts, shortcuts, provenance."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import cv2
import numpy as np

from monai_brain.data.duplicates import Fingerprint, fingerprints
from monai_brain.data.grouping import BY_PROVENANCE, find_provenance
from monai_brain.data.provenance import CHENG, identify
from monai_brain.data.similarity import COPY, MIRRORED, NEAR_COPY, NEIGHBOR, ORIENTATIONS, Pairs, alike, clusters_of
from monai_brain.data.splits import PART_FOLDERS, PARTS, class_names_of, read_datalist, split_groups
from monai_brain.evaluation.intervals import with_interval
from monai_brain.evaluation.shortcuts import shortcut_baselines
from monai_brain.io import Case, Skipped, find_cases
from monai_brain.io.read import read_image
from monai_brain.io.write import write_json, write_png
from monai_brain.labels import CLASS_NAMES, class_of_folder, either, in_words
from monai_brain.report.html import Block, Gallery, Table, write_page
from monai_brain.transforms.load import to_8_bits, to_channels
from monai_brain.transforms.spatial import resize

SHOWN = 40
"""Pairs of each kind on the page."""

PICTURE_PIXELS = 160


class InvalidSet(ValueError):
    """Something that cannot be audited, with the way out."""


class Entry(NamedTuple):
    """A picture of a set."""

    case: Case
    name: str
    """Set and path, for people."""
    source: int
    """Number of the set, from 0."""
    label: int | None
    part: str | None
    class_names: tuple[str, ...] = CLASS_NAMES
    """Of its set."""

    @property
    def class_name(self) -> str | None:
        """Its class, which sets may count differently."""
        return None if self.label is None else self.class_names[self.label]


def read_set(
    place: Path, source: int, dataset_dir: Path | None = None, class_names: tuple[str, ...] = CLASS_NAMES
) -> list[Entry]:
    """The pictures of a folder or of a datalist.

    In a folder, the names above a picture say its class and its part, where they are known ones.

    Args:
        place: folder, or datalist (`.json`).
        source: number of the set.
        dataset_dir: folder that a datalist's paths are relative to; None: the one that the datalist lies in.
        class_names: of a folder; a datalist says its own.

    Raises:
        InvalidSet: there is no picture.
        InvalidDatalist: the datalist is none.
    """
    if place.is_file():
        folder = dataset_dir or place.parent
        datalist = read_datalist(place)
        entries = [
            Entry(
                Case(item["image"], (folder / item["image"],), "slice"),
                f"{place.name}: {item['image']}",
                source,
                item["label"] if isinstance(item.get("label"), int) else None,
                part,
                class_names_of(datalist),
            )
            for part in PARTS
            for item in datalist.get(part, [])
        ]
    else:
        found = [case for case in find_cases(place) if not isinstance(case, Skipped) and case.kind == "slice"]
        entries = [_entry(case, place, source, class_names) for case in found]
    if not entries:
        raise InvalidSet(f"{place}: no picture here; give a folder of slices or a datalist")
    return entries


def audit(entries: Sequence[Entry], output: Path, *, workers: int, against: bool = False) -> dict[str, Any]:
    """Compare every picture with every other and write what was found.

    Args:
        entries: of one set or several, see `read_set`.
        output: gets `audit.html`, `audit.json` and `pictures/`.
        workers: processes that read pictures.
        against: only pairs between the last set and the others.

    Returns:
        What stands in `audit.json`; `leaks` counts copies between parts or sets.
    """
    prints = fingerprints([entry.case for entry in entries], workers)
    unreadable = {entry.name: own.refusal.code for entry, own in zip(entries, prints, strict=True) if own.refusal}
    kept = [place for place, own in enumerate(prints) if own.refusal is None]
    if not kept:
        raise InvalidSet("no picture can be read; monai-brain predict says why of each")
    entries, prints = [entries[place] for place in kept], [prints[place] for place in kept]
    pairs = _pairs(entries, np.stack([own.thumbnail for own in prints]), against)
    copies = pairs.at_least(NEAR_COPY)
    found: dict[str, Any] = {
        "pictures": len(entries),
        "unreadable": unreadable,
        "copies": _count_copies(entries, prints, pairs),
        "between": _count_between(entries, pairs),
        "conflicts": _conflicts(entries, copies),
        "provenance": _provenance(prints),
        "shortcuts": _shortcuts(entries, prints, pairs),
    }
    found["leaks"] = sum(own["pairs"] for own in found["between"] if own["parts"] or own["sets"])
    write_json(output / "audit.json", found)
    write_page(output / "audit.html", "Audit", [*_tables(found), *_galleries(output, entries, pairs)])
    return found


def grouped_split(entries: Sequence[Entry], workers: int, seed: int = 0) -> dict[str, Any]:
    """A datalist without copies, whose look-alikes and slices of one fold of known patients stay in one part.

    Args:
        entries: of one set, each with a label.
        workers: processes that read pictures.
        seed: of the split.

    Raises:
        InvalidSet: a picture has no label, or there are several sets.
        InvalidSplit: too few groups.
    """
    if len({entry.source for entry in entries}) > 1 or any(entry.label is None for entry in entries):
        raise InvalidSet("a split is made of one set whose pictures all have a class; give one folder of class folders")
    prints = fingerprints([entry.case for entry in entries], workers)
    kept = [place for place, own in enumerate(prints) if own.refusal is None]
    provenance = find_provenance([prints[place] for place in kept])
    groups = provenance.fold_groups([entries[place].label or 0 for place in kept])
    distinct = provenance.distinct()
    labels = [entries[kept[place]].label or 0 for place in distinct]
    own_groups = [groups[place] for place in distinct]
    class_names = entries[0].class_names
    parts = split_groups(labels, own_groups, seed=seed, class_names=class_names)
    datalist: dict[str, Any] = {
        "name": "audited",
        "class_names": list(class_names),
        "grouping": BY_PROVENANCE,
        "seed": seed,
        **{part: [] for part in PARTS},
    }
    for place, label, group, part in zip(distinct, labels, own_groups, parts, strict=True):
        item = {"image": entries[kept[place]].case.id, "label": label, "group": group}
        datalist[part].append({**item, "sha256": prints[kept[place]].sha256})
    return datalist


def _entry(case: Case, place: Path, source: int, class_names: tuple[str, ...]) -> Entry:
    folders = PurePosixPath(case.id).parts[:-1]
    classes = [name for folder in folders if (name := class_of_folder(folder, class_names)) is not None]
    parts = [PART_FOLDERS[name.lower()] for name in folders if name.lower() in PART_FOLDERS]
    label = class_names.index(classes[-1]) if classes else None
    return Entry(case, f"{place.name}/{case.id}", source, label, parts[0] if parts else None, class_names)


def _pairs(entries: Sequence[Entry], thumbnails: np.ndarray, against: bool) -> Pairs:
    last = max(entry.source for entry in entries)
    if not against or last == 0:
        return alike(thumbnails, NEIGHBOR)
    theirs = np.array([entry.source == last for entry in entries])
    ours, others = np.flatnonzero(~theirs), np.flatnonzero(theirs)
    found = alike(thumbnails[ours], NEIGHBOR, against=thumbnails[others])
    return found._replace(first=ours[found.first], second=others[found.second])


def _count_copies(entries: Sequence[Entry], prints: Sequence[Fingerprint], pairs: Pairs) -> dict[str, int]:
    exact = Counter(own.sha256 for own in prints)
    copies, near = pairs.at_least(COPY), pairs.at_least(NEAR_COPY)
    mirrored = copies.orientation >= MIRRORED
    turned = (copies.orientation % MIRRORED) > 0
    return {
        "pictures_with_a_copy": len(np.unique([copies.first, copies.second])),
        "pictures_with_an_exact_copy": sum(exact[own.sha256] > 1 for own in prints),
        "pictures_with_a_near_copy": len(np.unique([near.first, near.second])),
        "distinct_pictures": len(np.unique(clusters_of(len(entries), np.stack(copies[:2], axis=1)))),
        "pairs": len(copies.first),
        "pairs_mirrored": int((mirrored & ~turned).sum()),
        "pairs_turned": int(turned.sum()),
    }


def _count_between(entries: Sequence[Entry], pairs: Pairs) -> list[dict[str, Any]]:
    """Copies and neighbors by the parts and sets that they lie in."""
    near = len(pairs.at_least(NEAR_COPY).first)
    counts: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    touched: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for place, (first, second) in enumerate(zip(pairs.first, pairs.second, strict=True)):
        sides = sorted((entries[index].source, entries[index].part or "") for index in (first, second))
        key = (*sides[0], *sides[1])
        counts[key]["pairs" if place < near else "neighbors"] += 1
        if place < near:
            touched[key] |= {int(first), int(second)}
    return [
        {
            "first": f"set {key[0] + 1} {key[1]}".strip(),
            "second": f"set {key[2] + 1} {key[3]}".strip(),
            "parts": key[0] == key[2] and key[1] != key[3],
            "sets": key[0] != key[2],
            "pairs": own["pairs"],
            "pictures": len(touched[key]),
            "neighbors": own["neighbors"],
        }
        for key, own in sorted(counts.items())
    ]


def _conflicts(entries: Sequence[Entry], copies: Pairs) -> list[dict[str, Any]]:
    """Copies under two classes."""
    found = []
    for first, second, correlation in zip(copies.first, copies.second, copies.correlation, strict=True):
        names = [entries[first].class_name, entries[second].class_name]
        if None not in names and names[0] != names[1]:
            found.append(
                {
                    "first": entries[first].name,
                    "second": entries[second].name,
                    "classes": names,
                    "correlation": round(float(correlation), 4),
                }
            )
    return found


def _provenance(prints: Sequence[Fingerprint]) -> dict[str, Any]:
    known = [own for own in identify(np.stack([found.thumbnail for found in prints])) if own]
    table: dict[str, Any] = {}
    for source in sorted({own.source for own in known}):
        of_source = [own for own in known if own.source == source]
        table[source] = {
            "pictures": len(of_source),
            "mirrored": sum(own.mirrored for own in of_source),
            "folds": sorted({own.fold for own in of_source}) if source == CHENG else [],
        }
    return table


def _shortcuts(entries: Sequence[Entry], prints: Sequence[Fingerprint], pairs: Pairs) -> dict[str, Any]:
    """How well one classifies the first set without looking at tumors; empty if too few pictures have a class."""
    place_of = [place for place, entry in enumerate(entries) if entry.label is not None and entry.source == 0]
    labels = np.array([entries[place].label for place in place_of])
    if len(place_of) < 20 or len(set(labels.tolist())) < 2:
        return {}
    groups = clusters_of(len(entries), np.stack(pairs[:2], axis=1))[place_of]
    thumbnails = np.stack([prints[place].thumbnail for place in place_of])
    shapes = np.array([prints[place].shape for place in place_of])
    test = np.array([entries[place].part == "test" for place in place_of])
    return shortcut_baselines(thumbnails, shapes, labels, groups, test if test.any() and not test.all() else None)


def _tables(found: Mapping[str, Any]) -> list[Block]:
    copies = found["copies"]
    blocks: list[Block] = [
        Table(
            f"{found['pictures']} pictures, {copies['distinct_pictures']} of them distinct",
            ["", "number"],
            [[name.replace("_", " "), str(number)] for name, number in copies.items()],
        ),
        Table(
            "Between parts and sets: a copy on both sides is a leak",
            ["first", "second", "pairs of copies", "pictures in them", "pairs of neighbors"],
            [
                [row["first"], row["second"], *(str(row[k]) for k in ("pairs", "pictures", "neighbors"))]
                for row in found["between"]
            ],
        ),
    ]
    if found["provenance"]:
        rows = [
            [source, str(own["pictures"]), str(own["mirrored"]), ", ".join(map(str, own["folds"])) or "unknown"]
            for source, own in found["provenance"].items()
        ]
        blocks.append(Table("Known public slices", ["source", "pictures", "mirrored", "patient folds"], rows))
    if found["shortcuts"]:
        rows = [
            [name, with_interval(own["accuracy"], own["interval"])]
            for name, own in found["shortcuts"]["baselines"].items()
        ]
        blocks.append(Table(f"Without looking at tumors: {found['shortcuts']['tested']}", ["", "accuracy"], rows))
    if found["conflicts"]:
        rows = [
            [own["first"], own["second"], either([in_words(name) for name in own["classes"]])]
            for own in found["conflicts"]
        ]
        blocks.append(Table("Copies under two classes", ["first", "second", "classes"], rows))
    if found["unreadable"]:
        blocks.append(Table("Not read", ["file", "code"], [list(row) for row in found["unreadable"].items()]))
    return blocks


def _galleries(output: Path, entries: Sequence[Entry], pairs: Pairs) -> list[Gallery]:
    """The most telling pairs side by side: conflicts, then leaks, then the least alike copies."""
    near = pairs.at_least(NEAR_COPY)
    number = len(near.first)
    conflict = np.array([_differ(entries, near, place, "class_name") for place in range(number)], bool)
    leak = np.array(
        [_differ(entries, near, place, "part") or _differ(entries, near, place, "source") for place in range(number)],
        bool,
    )
    kinds = {
        "Copies under two classes": np.flatnonzero(conflict),
        "Copies in two parts or sets": np.flatnonzero(leak & ~conflict),
        "Other copies, the least alike first": np.flatnonzero(~leak & ~conflict)[::-1],
    }
    galleries = []
    for kind, (title, places) in enumerate(kinds.items()):
        pictures = []
        for place in places[:SHOWN]:
            first, second = entries[near.first[place]], entries[near.second[place]]
            path = f"pictures/{kind}_{place}.png"
            write_png(output / path, np.hstack([_picture(first), _picture(second)]))
            orientation = ORIENTATIONS[near.orientation[place]]
            pictures.append((path, f"{first.name} | {second.name} ({orientation}, {near.correlation[place]:.4f})"))
        if pictures:
            galleries.append(Gallery(f"{title}: {len(pictures)} of {len(places)}", pictures))
    return galleries


def _differ(entries: Sequence[Entry], pairs: Pairs, place: int, field: str) -> bool:
    first, second = (getattr(entries[index[place]], field) for index in (pairs.first, pairs.second))
    return first is not None and second is not None and first != second


def _picture(entry: Entry) -> np.ndarray:
    gray = to_channels(to_8_bits(read_image(entry.case.files[0]).pixels), gray=True)
    return cv2.copyMakeBorder(resize(gray, PICTURE_PIXELS)[0], 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=255)
