"""Networks; how they are trained is not part of them."""
