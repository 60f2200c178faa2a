"""Bytes that came in a request, until its ingestion ends."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from servers.ingestion.store.tables import ingestion_inputs

PART_BYTES = 1024 * 1024
"""Longest part, in bytes. MariaDB takes and gives no more than 16 MiB at a time, and escaped bytes may be twice as many."""


def insert_input(connection: Connection, ingestion_id: str, data: bytes) -> None:
    """Keeps the bytes."""
    starts = range(0, max(len(data), 1), PART_BYTES)
    parts = [
        {"ingestion_id": ingestion_id, "part": number, "data": data[start : start + PART_BYTES]} for number, start in enumerate(starts)
    ]
    connection.execute(insert(ingestion_inputs), parts)


def read_input(connection: Connection, ingestion_id: str) -> bytes | None:
    """Reads the bytes; None where there are none."""
    of_ingestion = ingestion_inputs.c.ingestion_id == ingestion_id
    parts = connection.execute(select(ingestion_inputs.c.data).where(of_ingestion).order_by(ingestion_inputs.c.part)).scalars().all()
    return b"".join(parts) if parts else None


def delete_input(connection: Connection, ingestion_id: str) -> None:
    """Forgets the bytes."""
    connection.execute(delete(ingestion_inputs).where(ingestion_inputs.c.ingestion_id == ingestion_id))
