"""What another package adds to MONAI Brain; see docs/extending.md."""
