"""Incremental processing: after inputs changed, only what is touched by that is computed anew, with the rows of a full run."""
