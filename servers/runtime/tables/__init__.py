"""Datasets as components read them: versions of Delta tables in a folder or in S3. Loads deltalake only where it is used."""
