"""Serving: predictions with the models of the registry."""
