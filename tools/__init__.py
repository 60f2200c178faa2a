"""Programs of this repository that no user installs."""
