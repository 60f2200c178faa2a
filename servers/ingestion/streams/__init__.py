"""Streams of rows: batches that are written as they come, each once, and acknowledged in order."""
