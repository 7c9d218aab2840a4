from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.io.write import write_json
from tests.conftest import read

FIGURES = ("classes.png", "examples.png", "means.png", "widths.png", "preprocessing.png", "augmentation.png")
runner = CliRunner()


def explore(datalist, folder, output, *more):
    return runner.invoke(
        app, ["explore", str(datalist), "-o", str(output), "--dataset-dir", str(folder), *more], env={"COLUMNS": "200"}
    )


def test_page_shows_what_the_notebooks_draw_of_the_data(phantom_folder, phantom_datalist, tmp_path):
    result = explore(phantom_datalist, phantom_folder, tmp_path, "--network", "cnn")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "exploration.html").read_text()
    for name in FIGURES:
        assert name in page
        assert (tmp_path / name).stat().st_size > 5000
    training = read(phantom_datalist)["training"]
    gliomas = sum(item["label"] == 0 for item in training)
    assert f'<td>training</td><td class="number">{gliomas}</td>' in page
    assert page.count('<td class="number">64</td>') == 3  # 64 slices of 64x64


def test_same_seed_draws_the_same_pictures(phantom_folder, phantom_datalist, tmp_path):
    for name in ("one", "other"):
        explore(phantom_datalist, phantom_folder, tmp_path / name)
    for name in FIGURES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name


def test_network_without_augmentation_shows_none(phantom_folder, phantom_datalist, tmp_path):
    explore(phantom_datalist, phantom_folder, tmp_path, "--network", "ann_baseline")
    assert "augmentation.png" not in (tmp_path / "exploration.html").read_text()


def test_unknown_network_and_datalist_without_labels_are_refused(phantom_folder, phantom_datalist, tmp_path):
    assert "no such overlay" in str(explore(phantom_datalist, phantom_folder, tmp_path, "--network", "x").exception)
    datalist = read(phantom_datalist)
    del datalist["test"][0]["label"]
    write_json(tmp_path / "d.json", datalist)
    assert "without a label" in str(explore(tmp_path / "d.json", phantom_folder, tmp_path / "out").exception)
