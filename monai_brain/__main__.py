"""`python -m monai_brain` is `monai-brain`."""

from monai_brain.cli import main

main()
