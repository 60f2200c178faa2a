"""The feature store beside its peers."""
