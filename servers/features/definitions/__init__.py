"""Entities, feature views and feature services: what there is, and what may be."""
