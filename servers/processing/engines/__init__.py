"""Engines: what runs the stages of a plan."""
