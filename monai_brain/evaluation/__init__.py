"""Evaluate models against baselines that need no training."""
