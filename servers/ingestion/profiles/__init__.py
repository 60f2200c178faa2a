"""Profiles of datasets: sketches of their files, what a version has in it, and pages that show it."""
