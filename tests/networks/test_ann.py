import pytest
import torch

from monai_brain.networks.ann import ANN


def test_parameters_are_those_of_the_layers():
    assert sum(p.numel() for p in ANN(4).parameters()) == 12288 * 256 + 256 + 256 * 128 + 128 + 128 * 4 + 4
    optimized = ANN(4, widths=[512, 256], batch_norm=True, dropouts=[0.4, 0.3])
    layers = [type(layer).__name__ for layer in optimized.hidden]
    assert layers == ["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2
    assert [layer.p for layer in optimized.hidden if isinstance(layer, torch.nn.Dropout)] == [0.4, 0.3]


def test_dropouts_that_do_not_match_the_layers_are_refused():
    with pytest.raises(ValueError, match="1 dropouts for 2 hidden layers"):
        ANN(4, dropouts=[0.4])
