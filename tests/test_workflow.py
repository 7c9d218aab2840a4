from monai_brain import workflow


def test_misspelt_key_is_found_with_the_nearest_one():
    assert workflow.unknown_keys({"max_epoch": 1}, {"max_epochs", "seed"}) == {"max_epoch": "max_epochs"}


def test_nested_misspelt_key_is_found():
    declared = {"train", "train::dataset"}
    assert workflow.unknown_keys({"train": {"datset": 1}}, declared) == {"train::datset": "train::dataset"}


def test_what_a_target_takes_is_free():
    assert workflow.unknown_keys({"network_def": {"_target_": "x.Y", "width": 3}}, {"network_def"}) == {}


def test_only_the_parent_of_an_unknown_branch_is_named():
    assert list(workflow.unknown_keys({"trian": {"a": {"b": 1}}}, {"train"})) == ["trian"]


def test_root_outside_of_a_workflow_is_the_default():
    assert workflow.root("here") == "here"
