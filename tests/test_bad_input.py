"""docs/bad_input.md is true: each of its lines has a test that carries its number and asserts its codes."""

import ast
import inspect
import re
from collections import defaultdict

from monai_brain.io import record
from monai_brain.report.reasons import ERRORS, SKIPPED, WARNINGS, reason
from tests.conftest import REPOSITORY

LINE = re.compile(r"\| (\d+) \|.*\|([^|]*)\|")
NUMBERS = list(range(1, 101))


def documented():
    """Codes by number, in the order of the page."""
    lines = (REPOSITORY / "docs" / "bad_input.md").read_text(encoding="utf-8").splitlines()
    return [(int(found[1]), re.findall(r"`(\w+)`", found[2])) for found in map(LINE.fullmatch, lines) if found]


def proven():
    """By number, all strings in the tests that are marked with it."""
    strings = defaultdict(set)
    for path in (REPOSITORY / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                said = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
                for mark in node.decorator_list:
                    for number in marked(mark):
                        strings[number] |= said
    return strings


def marked(decorator):
    """Numbers of the marker in a decorator, those on its parameters among them."""
    for node in ast.walk(decorator):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.bad_input":
            yield from map(ast.literal_eval, node.args)


def test_every_number_is_documented_once_and_proven():
    assert sorted(number for number, _ in documented()) == NUMBERS
    assert sorted(proven()) == NUMBERS


def test_every_documented_code_stands_in_a_test_of_its_number():
    strings = proven()
    assert not [(number, code) for number, codes in documented() for code in codes if code not in strings[number]]


def test_every_code_is_documented():
    """Those of refusals and of skipped files, and all that pages put into words."""
    package = REPOSITORY / "monai_brain"
    codes = set(WARNINGS) | set(ERRORS) | set(SKIPPED) | set(re.findall(r"`(\w+)`", inspect.getsource(record.Skipped)))
    for path in package.rglob("*.py"):
        codes |= set(re.findall(r'UnreadableCase\(\s*"(\w+)"', path.read_text(encoding="utf-8")))
    page = (REPOSITORY / "docs" / "bad_input.md").read_text(encoding="utf-8")
    assert len(codes) > 50
    assert sorted(code for code in codes if f"`{code}`" not in page) == []


def test_every_documented_code_has_words():
    codes = {code for _, own in documented() for code in own}
    assert sorted(code for code in codes if reason(code) == code.replace("_", " ")) == []
