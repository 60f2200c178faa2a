"""Which tests of a parallel run share a worker: those of a file, and all of a folder whose tests share servers that take long to start."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

SHARING_SERVERS = ("tests/e2e/", "tests/integration/gateway/")


class FoldersTogether(LoadFileScheduling):
    """`--dist loadfile`, where some folders count as one file."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((folder for folder in SHARING_SERVERS if file.startswith(folder)), file)
