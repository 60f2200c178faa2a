"""Data processing: one typed plan, and the engines that run it."""
