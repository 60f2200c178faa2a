"""Concerns that every method has, one file each, outermost first: telemetry, errors, auth, validation, idempotency, audit."""
