"""What every server of the mesh shares; start with README.md beside this file."""
