"""What runs one stage on one partition, and what moves rows between partitions; the same on every engine."""
