"""Features as they are now, and rows that bring them there."""
