"""A plan cut into stages: pieces that run on one partition of their inputs and need nothing of the others."""
