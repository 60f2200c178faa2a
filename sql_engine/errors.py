"""What can go wrong before the first statement runs."""

from __future__ import annotations

__all__ = ["DatabaseUrlError", "DriverMissing", "MigrationError"]


class DatabaseUrlError(ValueError):
    """A database URL that cannot be read, or names a database that is not supported."""


class DriverMissing(ImportError):
    """The Python driver of this database is not installed."""


class MigrationError(RuntimeError):
    """The tables are of a newer version than this code, or the migrations are no single line."""
