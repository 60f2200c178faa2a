"""Datasets as processing reads them: Delta tables in a folder or in S3, which ingestion writes."""
