"""Where in the image a classifier found its evidence."""
