"""Classify, segment and explain brain tumors on MR images. Research use only; not a medical device."""

__version__ = "0.1.0"
