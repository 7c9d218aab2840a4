import pytest
import torch

from monai_brain.training.checkpoint import newest_checkpoint, save_checkpoint


@pytest.fixture
def folder(tmp_path):
    for epoch in (9, 10):
        save_checkpoint(tmp_path / f"epoch_{epoch:04d}.pt", {"epoch": epoch, "model": {"w": torch.full((100,), epoch)}})
    return tmp_path


def test_newest_is_found(folder):
    state, damaged = newest_checkpoint(folder)
    assert (state["epoch"], damaged) == (10, [])


@pytest.mark.parametrize("damage", ["bit flip", "cut", "zeroed", "no checksum", "other checksum"])
def test_damaged_newest_is_said_and_the_one_before_used(folder, damage):
    path = folder / "epoch_0010.pt"
    content = bytearray(path.read_bytes())
    if damage == "bit flip":
        content[len(content) // 2] ^= 1
    elif damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "zeroed":
        content = bytearray(len(content))
    elif damage == "other checksum":  # as after a flip in what the zip format does not protect
        (folder / "epoch_0010.pt.sha256").write_text("0" * 64)
    else:
        (folder / "epoch_0010.pt.sha256").unlink()
    path.write_bytes(content)
    state, damaged = newest_checkpoint(folder)
    assert state["epoch"] == 9
    assert len(damaged) == 1
    assert "epoch_0010.pt: damaged" in damaged[0]


def test_empty_folder_has_none(tmp_path):
    assert newest_checkpoint(tmp_path / "nowhere") == (None, [])


def test_half_written_files_are_not_taken_for_checkpoints(folder):
    (folder / ".epoch_0011.pt.abc.part").write_bytes(b"half")
    assert newest_checkpoint(folder)[0]["epoch"] == 10
