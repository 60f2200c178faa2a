"""The system monitor: how the mesh is."""
