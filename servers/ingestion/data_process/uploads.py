"""Uploads as local files: where they lie, or downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from blob_store import StorageFull as NoSpace
from blob_store import StoreUnavailable, UploadNotFound, open_store
from servers.ingestion.data_process.source_errors import SourceNotFound, SourceUnavailable
from servers.ingestion.table_errors import StorageFull


@contextmanager
def uploaded(url: str, blob_id: str, name: str, folder: Path) -> Iterator[Path]:
    """Gives an upload as a file, as long as the block runs.

    Args:
        url: Of the blob store that has it.
        blob_id: Its id there.
        name: What its sender calls the file, for errors.
        folder: For a download.

    Raises:
        SourceNotFound: NOT_FOUND: it is not there any more.
        SourceUnavailable: UNAVAILABLE: the store does not answer.
        StorageFull: RESOURCE_EXHAUSTED: there is no space for it.
    """
    with ExitStack() as stack:
        try:
            path = stack.enter_context(open_store(url).opened_upload(blob_id, folder))
        except UploadNotFound:
            raise SourceNotFound(name) from None
        except StoreUnavailable as error:
            raise SourceUnavailable(name, str(error)) from None
        except NoSpace as error:
            raise StorageFull from error
        yield path
