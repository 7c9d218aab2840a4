"""Apply a trained network to a folder of scans."""
