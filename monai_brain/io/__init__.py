"""All reading of data and writing of results."""

from monai_brain.io.cases import Case, Skipped, find_cases
from monai_brain.io.read import DEFAULT_LIMITS, Image, Limits, UnreadableCase, read_case

__all__ = [
    "DEFAULT_LIMITS",
    "Case",
    "Image",
    "Limits",
    "Skipped",
    "UnreadableCase",
    "find_cases",
    "read_case",
]
