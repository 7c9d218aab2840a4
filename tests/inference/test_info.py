import json

from typer.testing import CliRunner

from monai_brain.cli import app


def test_info_lists_what_is_here_for_programs_and_for_people():
    result = CliRunner().invoke(app, ["info", "--json"])
    found = json.loads(result.output)
    assert {bundle["name"] for bundle in found["bundles"]} == {"brain_tumor_classification", "brain_tumor_segmentation"}
    assert all(engine["available"] for engine in found["engines"].values())
    assert found["engines"]["openvino"]["precisions"] == ["fp32", "bf16", "int8"]
    assert "DICOM" in found["formats"]
    assert found["versions"]["monai"]
    shown = CliRunner().invoke(app, ["info"]).output
    assert "brain_tumor_segmentation" in shown
    assert "openvino" in shown
