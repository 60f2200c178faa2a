"""Feast's serving protocol, over gRPC and HTTP, so that clients of Feast stay as they are."""
