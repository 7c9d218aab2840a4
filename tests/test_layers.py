"""Who may import whom, as pyproject.toml says; and that the check can fail."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "monai_brain"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; sys.path.insert(0, '.'); from importlinter import cli; sys.exit(cli.lint_imports(no_cache=True))"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


def test_layer_contracts_hold():
    result = lint(REPOSITORY)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("io/cases.py", "import monai_brain.data.index"),
        ("training/memory.py", "import monai_brain.inference.folder"),
        ("data/index.py", "import matplotlib"),
        ("inference/session.py", "import gradio"),
    ],
)
def test_planted_violation_is_found(tmp_path, module, line):
    shutil.copytree(PACKAGE, tmp_path / "monai_brain", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    planted = tmp_path / "monai_brain" / module
    planted.write_text(planted.read_text() + f"\n{line}\n")
    result = lint(tmp_path)
    assert result.returncode != 0
    assert "BROKEN" in result.stdout


def calls(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


@pytest.mark.parametrize(("call", "home"), [("torch.load", "io/weights.py"), ("cv2.imwrite", ""), ("print", "")])
def test_dangerous_call_has_one_home(call, home):
    users = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if call in calls(path)}
    assert users == ({home} if home else set())


def test_import_is_light_and_silent():
    code = "import sys, monai_brain, monai_brain.cli; print([m for m in ('torch', 'monai', 'cv2') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")
