"""Dictionary transforms that MONAI lacks: thin, on uint8 arrays, one array operation each."""
