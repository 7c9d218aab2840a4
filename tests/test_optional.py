import pytest

from monai_brain.optional import MissingDependency, require


def test_missing_package_is_named_with_the_way_to_install_it():
    with pytest.raises(MissingDependency, match=r"the moon needs no_such_package.*pip install moon"):
        require("no_such_package.part", feature="the moon", install="pip install moon")


def test_present_module_is_returned():
    assert require("json.decoder", feature="a test", install="nothing").JSONDecoder
