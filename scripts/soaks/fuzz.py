"""Thousands of damaged files in one folder run: each has its row, nothing dies or hangs, what is accepted is right.

The files are made by `soaks.seeds` and damaged at random: flipped bits, cuts, spliced blocks, fields of headers.
"""

import csv
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from soaks.folder import ROOT, memory_mb, train_small
from soaks.second_opinion import OTHER, SecondOpinion
from soaks.seeds import Seed, seeds

CODES_OF_HARM = ("decoder_died", "out_of_memory", "unreadable")
"""A process died or hung, or an error came that nobody foresaw."""

MOST_MB = 4000
"""Of the process and its worker together; their libraries alone take about 1,000."""

HEADER_BYTES = 600
SECONDS_BETWEEN_LOOKS = 0.05
STATUS = {True: 3, False: 0}
"""Of a run, by whether a row has an error."""

NUMBERS = (0, 1, 2, 7, 16, 0x7F, 0xFF, 0x100, 30000, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)
WORDS = (b"0", b"-1", b"1", b"2", b"7", b"40", b"30000", b"4294967296", b"1e30", b"nan", b"0,5", b"")


def soak_fuzz(folder: Path, mutants: int, draw: random.Random) -> int:
    """One run over damaged files.

    Raises:
        SystemExit: naming what did not hold.
    """
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    originals = seeds()
    write_mutants(folder / "files", originals, mutants, draw)
    weights = train_small(folder)
    peak, seconds = run(folder / "files", folder / "out", weights)
    rows = rows_of(folder / "out")
    check_rows(folder / "files", rows)
    opinions = compared(folder / "files", rows)
    words = Counter(row["status"] for row in rows)
    print(
        f"{mutants} mutants of {len(originals)} files: {len(rows)} rows in {seconds:.0f} s, {words['ok']} ok, "
        f"{words['error']} errors of {len({row['code'] for row in rows if row['status'] == 'error'})} codes, "
        f"{words['skipped']} skipped; none died or hung; at most {peak:.0f} MB; of those that are ok "
        + ", ".join(f"{count} {what}" for what, count in sorted(opinions.items()))
        + f"; {time.monotonic() - began:.0f} s in all"
    )
    if peak > MOST_MB:
        sys.exit(f"memory reached {peak:.0f} MB; at most {MOST_MB} are allowed")
    if opinions[OTHER]:
        sys.exit(f"{opinions[OTHER]} files were read otherwise than by other decoders")
    return 0


def write_mutants(files: Path, originals: list[Seed], mutants: int, draw: random.Random) -> None:
    """Each in a folder of its own, after one undamaged copy of every seed."""
    for number in range(-len(originals), mutants):
        seed = originals[number % len(originals)]
        place = files / (f"{number:05d}_{seed.name}" if number >= 0 else f"whole_{seed.name}")
        place.mkdir(parents=True)
        chosen = draw.choice(sorted(seed.files))
        for name, content in seed.files.items():
            damaged = number >= 0 and name == chosen
            (place / name).write_bytes(mutated(content, originals, draw) if damaged else content)


def mutated(content: bytes, originals: list[Seed], draw: random.Random) -> bytes:
    """Damaged in one to three ways."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        content = draw.choice((flip_bits, flip_header, cut, splice, set_number, set_word))(content, originals, draw)
    return content or b"\0"


def flip_bits(content: bytes, _: list[Seed], draw: random.Random, end: int | None = None) -> bytes:
    changed = bytearray(content)
    for _number in range(draw.choice((1, 1, 2, 4, 16)) if content else 0):
        changed[draw.randrange(min(end or len(content), len(content)))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def flip_header(content: bytes, originals: list[Seed], draw: random.Random) -> bytes:
    return flip_bits(content, originals, draw, HEADER_BYTES)


def cut(content: bytes, _: list[Seed], draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    return draw.choice((content[:at], content[at:], content[:-1], content[: -draw.randrange(1, 64)]))


def splice(content: bytes, originals: list[Seed], draw: random.Random) -> bytes:
    """A block of this or of another file written over, put in or left out."""
    other = draw.choice((content, draw.choice(list(draw.choice(originals).files.values()))))
    start, length = draw.randrange(len(other) + 1), draw.choice((1, 4, 16, 128, 1024))
    at = draw.randrange(len(content) + 1)
    block = other[start : start + length]
    return draw.choice((content[:at] + block + content[at + length :], content[:at] + block + content[at:]))


def set_number(content: bytes, _: list[Seed], draw: random.Random) -> bytes:
    """A number of 1, 2 or 4 bytes in the header."""
    size, order = draw.choice((1, 2, 4)), draw.choice(("little", "big"))
    at = draw.randrange(min(HEADER_BYTES, len(content)) + 1)
    value = draw.choice(NUMBERS) & (1 << 8 * size) - 1
    return content[:at] + value.to_bytes(size, order) + content[at + size :]


def set_word(content: bytes, originals: list[Seed], draw: random.Random) -> bytes:
    """A number that the header has as text."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content[:HEADER_BYTES]))
    if not found:
        return set_number(content, originals, draw)
    word = draw.choice(found)
    return content[: word.start()] + draw.choice(WORDS) + content[word.end() :]


def run(files: Path, output: Path, weights: Path) -> tuple[float, float]:
    """Highest memory of the run, MB, and its seconds."""
    command = [sys.executable, "-m", "monai_brain", "predict", str(files), "-o", str(output), "--weights", str(weights)]
    began, peak = time.monotonic(), 0.0
    said = output.with_suffix(".log")
    with said.open("w") as log:
        process = subprocess.Popen([*command, "--workers", "1"], cwd=ROOT, stdout=log, stderr=log)
        while process.poll() is None:
            peak = max(peak, memory_mb(process.pid))
            time.sleep(SECONDS_BETWEEN_LOOKS)
    text = said.read_text(encoding="utf-8", errors="replace")
    if process.returncode not in STATUS.values() or "Traceback" in text:
        sys.exit(f"the run ended with {process.returncode}: {text[-3000:]}")
    return peak, time.monotonic() - began


def rows_of(output: Path) -> list[dict[str, str]]:
    with (output / "predictions.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def check_rows(files: Path, rows: list[dict[str, str]]) -> None:
    """Every file in one row, and no row of harm."""
    from monai_brain.io import Case, find_cases

    harm = [f"{row['path']} ({row['code']})" for row in rows if row["code"] in CODES_OF_HARM]
    if harm:
        sys.exit(f"{len(harm)} files did harm: {', '.join(harm[:20])}")
    with tempfile.TemporaryDirectory() as unpacked:
        found = list(find_cases(files, Path(unpacked)))
        held = Counter(path for own in found if isinstance(own, Case) for path in own.files if files in path.parents)
    held.update(files / own.id for own in found if not isinstance(own, Case) and (files / own.id).is_file())
    unpacked_files = {own for own in files.rglob("*.zip") if own not in held}
    lost = {Path(own) for own, _, names in os.walk(files) for _ in names} - {
        own.parent for own in held | Counter(unpacked_files)
    }
    single = [path for path in files.rglob("*") if path.is_file() and path not in unpacked_files]
    if lost or len(rows) != len(found) or sorted(held.elements()) != sorted(single):
        sys.exit(f"{len(rows)} rows for {len(found)} cases; {len(held)} of {len(single)} files are in one")


def compared(files: Path, rows: list[dict[str, str]]) -> Counter[str]:
    """How many of the cases that were read another decoder reads alike, by its word."""
    from monai_brain.io import Case, find_cases

    ok = {row["path"] for row in rows if row["status"] == "ok"}
    words: Counter[str] = Counter()
    other = SecondOpinion()
    for case in find_cases(files):
        if isinstance(case, Case) and case.id in ok:
            word = other.ask(case.files)
            words[word] += 1
            if word == OTHER:
                print(f"{case.id}: {word}")
    other.end()
    return words
