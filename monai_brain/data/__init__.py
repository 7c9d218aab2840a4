"""From folders of images to datalists: index, near-duplicates, splits, demo data."""
