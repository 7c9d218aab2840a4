"""Synthetic heads on MR: made from nilearn's MNI152 maps, seeded, with exact tumor masks."""

from monai_brain.data.demo.writing import write_demo_slices, write_demo_volumes

__all__ = ["write_demo_slices", "write_demo_volumes"]
