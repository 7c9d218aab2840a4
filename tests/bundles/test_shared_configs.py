"""Each bundle holds all its configs, so that it can be handed out alone: what both say twice must stay the same."""

import pytest
from monai.bundle import ConfigParser

from tests.conftest import REPOSITORY

BUNDLES = ("brain_tumor_classification", "brain_tumor_segmentation")

NETWORK = {"image_size", "network_def::_target_", "network_def::num_classes", "deterministic_transforms", "batch_size"}
DIFFERENT = {
    "train.yaml": NETWORK
    | {"name", "max_epochs", "learning_rate", "weight_decay", "annealing", "patience", "phases"}
    | {"loss::_target_", "optimizer::_target_", "early_stopping::score_function", "validate::dataloader::batch_size"}
    | {"train::preprocessing::transforms", "train::dataset::num_cached", "train::random_transforms"}
    | {"validate::preprocessing::transforms", "validate::dataset::num_cached", "imports", "run"},
    "evaluate.yaml": {
        "evaluate::dataset::num_cached",
        "evaluate::dataloader::batch_size",
        "evaluate::outputs::_target_",
    }
    | {"evaluate::evaluator::inferer", "evaluation_items", "output_dir", "+imports", "run"},
    "inference.yaml": NETWORK | {"cam_layer", "intensity_transforms", "task::_target_", "imports", "run"},
}
"""Entries of both bundles that differ on purpose, by file; everything else that both have is equal."""


def entries(value, place=""):
    if not isinstance(value, dict):
        return {place: value}
    return {key: own for name, inner in value.items() for key, own in entries(inner, f"{place}::{name}").items()}


def both(name):
    files = (REPOSITORY / "bundles" / bundle / "configs" / name for bundle in BUNDLES)
    return [ConfigParser.load_config_file(str(file)) for file in files]


@pytest.mark.parametrize("name", ["train.yaml", "evaluate.yaml", "inference.yaml"])
def test_what_both_bundles_configure_is_equal_but_for_what_is_listed(name):
    one, other = map(entries, both(name))
    found = {key.removeprefix("::") for key in one.keys() & other.keys() if one[key] != other[key]}
    assert found == DIFFERENT[name]


def test_a_segmenter_s_training_is_a_classifier_s_without_the_cache_of_frozen_layers():
    classifier, segmenter = both("train.yaml")
    steps = iter(classifier["run"])
    assert all(step in steps for step in segmenter["run"])
    assert set(segmenter["imports"]) < set(classifier["imports"])
