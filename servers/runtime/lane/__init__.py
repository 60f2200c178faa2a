"""The lane between Envoy and a server: gRPC over HTTP/1.1 with trailers, and plain REST for bodies that are bytes (ADR 39)."""
