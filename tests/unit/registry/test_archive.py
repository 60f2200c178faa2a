from __future__ import annotations

import hashlib
import io
import tarfile
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from model_management.model import FileEntry
from servers.registry.archive import tar_stream

names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=120).filter(
    lambda name: name not in {".", ".."}
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(paths, st.binary(max_size=1500), max_size=6))
def test_any_files_come_out_of_the_archive_as_they_went_in(contents):
    files = [FileEntry(path, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data)) for path, data in contents.items()]
    packed = b"".join(tar_stream(files, lambda file: [contents[file.path]], datetime(2026, 1, 2, tzinfo=UTC)))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert {member.name: archive.extractfile(member).read() for member in archive.getmembers()} == contents
