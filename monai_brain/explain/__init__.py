"""Explain where a classifier or segmenter found its evidence in the image."""
