"""What the platform is for, shown on real data."""
