"""Where data come from, as requests say it."""

from __future__ import annotations

from dataclasses import dataclass

from mlops.ingestion.v1 import ingestion_pb2

from servers.ingestion import converters
from servers.ingestion.data_process.allowed_sources import AllowedSources
from servers.ingestion.uploads.converters import upload_id_from_proto
from servers.ingestion.uploads.uploading import Uploading
from servers.runtime.auth import current_project


@dataclass(frozen=True)
class RequestSources:
    """Reads sources of requests, and refuses at once what may not be read.

    Args:
        allowed: Where URIs may point.
        uploading: Has files that were sent in pieces.
    """

    allowed: AllowedSources
    uploading: Uploading

    def given(self, source: ingestion_pb2.Source) -> converters.GivenSource:
        """Reads where data come from.

        Raises:
            SourceNotAllowed: Its URI points elsewhere than is allowed.
            UploadNotFound: The project has no such upload.
            UploadIncomplete: Bytes of it are missing.
        """
        if source.upload_id:
            return self._uploaded(upload_id_from_proto(source.upload_id))
        if source.uri:
            # Whoever reads it looks again, since links may point elsewhere by then.
            self.allowed.allowed(source.uri)
        return converters.source_from_proto(source)

    def _uploaded(self, upload_id: str) -> converters.GivenSource:
        known = self.uploading.completed(current_project(), upload_id).known
        name = known.name or "data"
        return converters.GivenSource({"kind": "upload", "blob_id": known.blob_id, "name": name}, None, name, upload_id=upload_id)
