"""Ingestion beside Polars with deltalake, and beside dlt: rows a second from a file to a new Delta table."""
