"""The model registry as a gRPC server: the library `model_management` behind its contract."""
