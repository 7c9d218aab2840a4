import torch
from torch import nn

from monai_brain.networks.autocast import FlippedInferer


class Ramp(nn.Module):
    """What it says depends on the column."""

    def forward(self, image):
        return image[:, :1] + torch.arange(image.shape[-1])


def test_flips_give_the_mean_of_a_slice_and_its_mirror_image():
    image = torch.zeros(2, 3, 4, 5)
    image[..., 0] = 10
    logits = FlippedInferer()(image, Ramp())
    assert torch.equal(logits[0, 0, 0], torch.tensor([12.0, 2, 2, 2, 2]))
    assert torch.equal(FlippedInferer(flips=False)(image, Ramp())[0, 0, 0], torch.tensor([10.0, 1, 2, 3, 4]))
