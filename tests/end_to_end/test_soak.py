"""A short run of the long trials."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow


def test_training_killed_five_times_equals_the_uninterrupted_one():
    command = [sys.executable, str(REPOSITORY / "scripts" / "soak.py"), "training", "--kills", "5"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "5 kills (step 2, saving 1, switch 1, features 1)" in result.stdout


def test_damaged_files_do_no_harm_and_are_read_right_or_refused():
    command = [sys.executable, str(REPOSITORY / "scripts" / "soak.py"), "fuzz", "--mutants", "300"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "none died or hung" in result.stdout


@pytest.mark.bad_input(67)
def test_folder_run_killed_three_times_equals_the_one_that_was_left_alone():
    command = [sys.executable, str(REPOSITORY / "scripts" / "soak.py"), "folder", "--cases", "2000", "--kills", "3"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 kills, tables equal" in result.stdout
