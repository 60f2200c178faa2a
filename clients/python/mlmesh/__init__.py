"""Python client of the mlmesh platform."""
