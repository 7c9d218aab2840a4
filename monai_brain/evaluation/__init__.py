"""What a model is worth, next to what needs no model."""
