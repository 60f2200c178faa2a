"""Pipelines: named, versioned computations, as far as possible over what has changed alone, with statistics of their outputs."""
