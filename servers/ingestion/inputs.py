"""Data that came in a request, on their way to a data process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from servers.ingestion.full_disks import noticing_full_disks


@dataclass(frozen=True)
class Input:
    """Data that came in a request.

    Args:
        data: The bytes of the file.
        name: What the sender calls it; its suffix may tell the format.
    """

    data: bytes
    name: str


@contextmanager
def spooled(source: Mapping[str, Any], given: Input | None, folder: Path) -> Iterator[Mapping[str, Any]]:
    """Gives a source as a data process takes it: data of a request lie in a file meanwhile.

    Args:
        source: Where the data are.
        given: The data, where the request has them.
        folder: For the file.

    Raises:
        StorageFull: RESOURCE_EXHAUSTED: the disk is full.
    """
    if given is None:
        yield source
        return
    with TemporaryDirectory(dir=folder, prefix="input-") as place:
        path = Path(place) / "data"
        with noticing_full_disks():
            path.write_bytes(given.data)
        yield {"kind": "file", "path": str(path), "name": given.name}
