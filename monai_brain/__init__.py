"""Classify, segment and explain brain tumors on MR images. Research use only; not a medical device."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reports to its maker, beginning with its import

__version__ = "0.1.0"
