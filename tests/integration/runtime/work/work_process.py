"""A process with workers: `python work_process.py <data folder> <database URL> <owner> <finish|hang>`.

One that hangs reports, and works for ever.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from servers.runtime.database import open_database
from servers.runtime.settings import ServerSettings
from servers.runtime.work import Result, Run, TaskTable, Workers, WorkSettings

# A lease that is renewed in time on a busy machine too: what runs out, the other process takes.
SETTINGS = WorkSettings(threads=1, lease_s=6, poll_interval_s=0.05)


def main(folder: str, url: str, owner: str, way: str) -> None:
    engine = open_database(ServerSettings(data_dir=Path(folder), database_url=url))

    def handler(run: Run) -> Result:
        run.progress({"owner": owner})
        if way == "hang":
            threading.Event().wait()
        return Result({"owner": owner})

    workers = Workers(TaskTable(engine), owner=owner, settings=SETTINGS)
    workers.register("ingest", handler)
    workers.start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
