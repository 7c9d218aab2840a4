"""What is served under which name."""

from pathlib import Path

import pytest

from monai_brain.app.server import PREFIX, _free_name, private_folder


def test_bundle_that_is_served_twice_has_two_names():
    taken = []
    for weights in (Path("a"), Path("b"), Path("b"), None):
        taken.append(_free_name("bundle", weights, taken))
    assert taken == ["bundle", "bundle, b (1)", "bundle, b (2)", "bundle, its own weights (1)"]


@pytest.mark.bad_input(85)
def test_85_uploads_of_a_killed_process_are_removed_by_the_next_and_those_of_a_live_one_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed, strange = tmp_path / f"{PREFIX}killed", tmp_path / f"{PREFIX}strange"
    for folder in (killed, strange):
        (folder / "uploads").mkdir(parents=True)
        (folder / "uploads" / "scan.png").write_bytes(b"x")
    (killed / ".lock").touch()
    with private_folder() as live:
        assert not killed.exists()
        assert strange.exists()  # has no lock: perhaps it is just being made
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        with private_folder():
            assert live.exists()
    assert not live.exists()
