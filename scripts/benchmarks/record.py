"""Print a benchmark's table and keep it in docs/benchmarks.md, with the command, versions and machine."""

import os
import platform
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
HEADER = "# Benchmarks\n\nEach section gives its command. Ratios are from one run in which both sides alternate.\n"


def record(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: str,
    packages: Sequence[str],
    arguments: str = "IMAGES",
) -> None:
    """Print the table; replace the section of this title in docs/benchmarks.md.

    Args:
        title: of the section.
        columns: of the table.
        rows: of the table.
        notes: below it.
        packages: whose versions are given.
        arguments: of the command, placeholders for paths.
    """
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *(f"| {' | '.join(row)} |" for row in rows)]
    versions = ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])
    script = Path(sys.argv[0]).resolve().relative_to(PAGE.parents[1])
    facts = [
        f"Command: `python {script} {arguments}`",
        f"Machine: {processor()}, {os.cpu_count()} cores, {platform.system()}; {versions}; {datetime.now(UTC).date()}.",
        notes,
    ]
    section = f"## {title}\n" + "\n".join(lines) + "\n\n" + "\n".join(facts) + "\n"
    print(section)
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else HEADER
    before = re.sub(rf"\n## {re.escape(title)}\n.*?(?=\n## |\Z)", "", text, flags=re.DOTALL).rstrip("\n")
    PAGE.write_text(f"{before}\n\n{section}", encoding="utf-8")


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
