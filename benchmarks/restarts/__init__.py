"""How soon a mesh is whole again when one of its processes was killed."""
