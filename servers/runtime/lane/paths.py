"""Paths of a lane that are no methods."""

READY_PATH = "/ready"
"""Answers 200 while the server is ready and 503 otherwise: Envoy's health check, which speaks no gRPC over HTTP/1.1."""
