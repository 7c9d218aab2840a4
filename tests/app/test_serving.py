"""What is served under which name."""

from pathlib import Path

from monai_brain.app.serving import _free_name


def test_bundle_that_is_served_twice_has_two_names():
    taken = []
    for weights in (Path("a"), Path("b"), Path("b"), None):
        taken.append(_free_name("bundle", weights, taken))
    assert taken == ["bundle", "bundle, b (1)", "bundle, b (2)", "bundle, its own weights (1)"]
