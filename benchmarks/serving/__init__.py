"""Predictions a second and their processor time: mlmesh beside MLServer, BentoML, LitServe and FastAPI, on the same ONNX files."""
