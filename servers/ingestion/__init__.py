"""The ingestion server: files and events of any format become rows of versioned tables."""
