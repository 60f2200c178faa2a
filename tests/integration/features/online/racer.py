"""A process that writes given vectors as fast as it can; run as a program: the rows come as JSON on standard input."""

from __future__ import annotations

import json
import sys

from servers.features.online import OnlineRow, open_online_store

if __name__ == "__main__":
    store = open_online_store(sys.argv[1], timeout_s=60)
    print("ready", flush=True)
    for view, rows in json.loads(sys.stdin.readline()):
        store.write(view, [OnlineRow(bytes.fromhex(key), bytes.fromhex(vector)) for key, vector in rows])
    store.close()
