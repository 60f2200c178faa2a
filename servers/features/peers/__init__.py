"""The other components, each called by one module alone, as the mesh's own account."""
