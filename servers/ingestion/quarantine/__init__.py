"""Rows in quarantine: `mlops.ingestion.v1.QuarantineService`. What is done with the rows themselves is `data_process.quarantine`."""
