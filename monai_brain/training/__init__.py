"""What MONAI's training workflow needs besides: seeds, checkpoints, progress, history."""
