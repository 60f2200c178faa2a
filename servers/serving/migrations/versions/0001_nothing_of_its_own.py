"""Serving keeps no tables of its own; the runtime's audit outbox lives in this database."""

from __future__ import annotations

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Changes nothing."""
