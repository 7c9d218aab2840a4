"""Where in the image a classifier or a segmenter found its evidence."""
