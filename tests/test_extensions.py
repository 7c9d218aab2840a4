"""What other packages add: a whole one, in processes of their own, and registrations that cannot be used."""

import csv
import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from monai_brain import extensions
from monai_brain.extensions import BrokenExtension, Registry
from monai_brain.io.settings import UnsafeSettings, check
from tests.bundles.running import SMALL
from tests.conftest import BUNDLE, REPOSITORY, draw_phantom, read

TOY = REPOSITORY / "tests" / "toy_package"
REGISTERED = tomllib.loads((TOY / "pyproject.toml").read_text())["project"]["entry-points"]

TRAIN_AND_PREDICT = """
import json, sys
from pathlib import Path
from monai_brain import cli
from monai_brain.inference.apply import start_workflow
from monai_brain.inference.info import describe_installation
bundle, overlay, options, scans, output = sys.argv[1:]
options = json.loads(options)
start_workflow([Path(bundle, "configs", "train.yaml"), Path(overlay)], "train", **options).run()
found = describe_installation()
print(json.dumps({key: found[key] for key in ("formats", "explanations")}))
sys.argv[1:] = ["predict", scans, "-o", output, "--weights", options["output_dir"], "--explain", "--method", "toy",
                "--workers", "1"]
cli.main()
"""


def as_toy(image) -> str:
    return "\n".join(["TOY", *(" ".join(map(str, row)) for row in image.tolist())])


@pytest.fixture
def installed(tmp_path):
    """The toy package as pip would install it: its code, and beside it what its pyproject.toml registers."""
    place = tmp_path / "site-packages"
    about = place / "toy_package-1.0.dist-info"
    about.mkdir(parents=True)
    (place / "toy_package").symlink_to(TOY / "toy_package")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-package\nVersion: 1.0\n")
    sections = ["\n".join([f"[{group}]", *map(" = ".join, own.items())]) for group, own in REGISTERED.items()]
    (about / "entry_points.txt").write_text("\n\n".join(sections) + "\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), str(REPOSITORY)])}


@pytest.mark.slow
def test_network_format_and_explanation_of_another_package_work(installed, phantom_folder, phantom_datalist, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "a.toy").write_text(as_toy(draw_phantom(0, 1)))
    (scans / "b.dat").write_text(as_toy(draw_phantom(1, 1)))
    (scans / "cut.toy").write_text(as_toy(draw_phantom(0, 1))[:-300])
    data = {"dataset_dir": str(phantom_folder), "datalist": str(phantom_datalist)}
    options = {**data, **SMALL, "max_epochs": 1, "output_dir": str(tmp_path / "run")}
    places = [BUNDLE, TOY / "toy.yaml", json.dumps(options), scans, tmp_path / "out"]
    command = [sys.executable, "-c", TRAIN_AND_PREDICT, *map(str, places)]
    done = subprocess.run(command, env=installed, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr[-2000:]  # one file is damaged
    here = next(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert "Toy" in here["formats"] and "toy" in here["explanations"]
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert [rows[name]["status"] for name in ("a.toy", "b.dat", "cut.toy")] == ["ok", "ok", "error"]
    assert rows["cut.toy"]["code"] == "damaged"
    assert "toy_by_content" in rows["b.dat"]["warnings"]
    assert (tmp_path / "out" / rows["a.toy"]["overlay"]).is_file()
    manifest = read(tmp_path / "out" / "run.json")
    assert manifest["options"]["method"] == "toy"


def test_each_addition_is_one_module_and_one_line():
    modules = {path.stem for path in (TOY / "toy_package").glob("*.py")} - {"__init__"}
    lines = [value.partition(":")[0] for own in REGISTERED.values() for value in own.values()]
    assert sorted(lines) == sorted(f"toy_package.{name}" for name in modules)
    ours = [
        path
        for top, ending in (("monai_brain", "*.py"), ("bundles", "*.py"), ("bundles", "*.yaml"))
        for path in (REPOSITORY / top).rglob(ending)
    ]
    assert len(ours) > 100
    assert [path for path in ours if "toy" in path.read_text(encoding="utf-8").lower()] == []


def test_page_shows_the_package_as_it_is():
    page = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
    for path in [TOY / "pyproject.toml", TOY / "toy.yaml", *(TOY / "toy_package").glob("[!_]*.py")]:
        assert path.read_text(encoding="utf-8").strip() in page, path.name


def test_network_that_nobody_registered_is_refused():
    with pytest.raises(UnsafeSettings, match="installed package registers"):
        check({"_target_": "toy_package.network.ToyNetwork"}, "run.json")


def registry(monkeypatch, *entries: tuple[str, str]) -> Registry[Path]:
    found = [EntryPoint(name, value, "monai_brain.places") for name, value in entries]
    monkeypatch.setattr(extensions, "entry_points", lambda group: found if group == "monai_brain.places" else [])
    extensions.registered.cache_clear()
    return Registry("places", Path, {"here": Path()})


@pytest.fixture(autouse=True)
def forget_what_is_registered():
    yield
    extensions.registered.cache_clear()


def test_own_things_come_first_and_others_are_imported_when_asked_for(monkeypatch):
    places = registry(monkeypatch, ("there", "tests.conftest:BUNDLE"), ("gone", "no_such_module:PLACE"))
    assert list(places) == ["here", "gone", "there"]
    assert places["there"] == BUNDLE
    with pytest.raises(BrokenExtension, match=r"'gone' of monai_brain\.places cannot be imported"):
        places["gone"]
    assert "nowhere" not in places


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("here", "tests.conftest:BUNDLE")], "a name already in use"),
        ([("a", "tests.conftest:BUNDLE"), ("a", "tests.conftest:REPOSITORY")], "both register 'a'"),
        ([("a", "tests.conftest:draw_phantom")], "is not a Path"),
    ],
)
def test_registration_that_cannot_be_used_is_refused(monkeypatch, entries, message):
    with pytest.raises(BrokenExtension, match=message):
        list(registry(monkeypatch, *entries).values())
