import pytest
import torch
from monai.transforms import AdjustContrast
from torch import nn

from monai_brain.networks.autocast import AveragedInferer
from monai_brain.networks.averaging import UnusableContrasts, with_contrast


class Ramp(nn.Module):
    """What it says depends on the column."""

    def forward(self, image):
        return image[:, :1] + torch.arange(image.shape[-1])


class Echo(nn.Module):
    """Says what it is shown."""

    def forward(self, image):
        return image[:, :1]


def test_flips_give_the_mean_of_a_slice_and_its_mirror_image():
    image = torch.zeros(2, 3, 4, 5)
    image[..., 0] = 10
    logits = AveragedInferer()(image, Ramp())
    assert torch.equal(logits[0, 0, 0], torch.tensor([12.0, 2, 2, 2, 2]))
    assert torch.equal(AveragedInferer(flips=False)(image, Ramp())[0, 0, 0], torch.tensor([10.0, 1, 2, 3, 4]))


def test_contrasts_are_those_of_monai_for_each_channel_and_averaged():
    image = torch.rand(2, 3, 6, 5) * torch.tensor([1.0, 4.0, 0.5])[:, None, None] - 2
    expected = torch.stack([torch.stack([AdjustContrast(1.5)(channel[None])[0] for channel in one]) for one in image])
    torch.testing.assert_close(with_contrast(image, 1.5), torch.as_tensor(expected))
    logits = AveragedInferer(flips=False, contrasts=[1.0, 1.5])(image, Echo())
    torch.testing.assert_close(logits, (image + with_contrast(image, 1.5))[:, :1] / 2)
    flat = torch.full((1, 3, 4, 4), -2.0)
    assert torch.equal(with_contrast(flat, 1.5), flat)


@pytest.mark.parametrize("contrasts", [[], [0.0], [1.0, -1.0], 1.3])
def test_exponents_that_make_no_sense_are_refused(contrasts):
    with pytest.raises(UnusableContrasts, match="give exponents above 0"):
        AveragedInferer(contrasts=contrasts)
