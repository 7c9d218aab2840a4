import torch
from monai.engines import SupervisedTrainer
from torch import nn

from monai_brain.training.clipping import ClipGradients


def step(*handlers):
    """How far one step of gradient descent, at a rate of 1, goes."""
    network = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(network.weight)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[{"image": torch.full((1, 2), 30.0), "label": torch.ones(1, 1)}],
        network=network,
        loss_function=nn.MSELoss(),
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        train_handlers=[make(network) for make in handlers],
        decollate=False,
    )
    trainer.run()
    return float(network.weight.detach().norm())


def test_large_gradients_are_shrunk_before_the_step_and_small_ones_stay():
    free = step()
    assert free > 50
    assert abs(step(lambda network: ClipGradients(network, 5.0)) - 5) < 1e-3
    assert abs(step(lambda network: ClipGradients(network, 1e6)) - free) < 1e-4
