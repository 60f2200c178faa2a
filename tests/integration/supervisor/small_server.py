"""A server that a supervisor can start: HTTP on a Unix socket, with the behaviour its options ask for."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("socket")
parser.add_argument("--journal", help="file that takes one line at start and one at SIGTERM")
parser.add_argument("--ignore-sigterm", action="store_true")
parser.add_argument("--crash-if-exists", help="say so and end with code 3 while this file exists")
parser.add_argument("--never-ready", action="store_true")
parser.add_argument("--grandchild-pid-file")
options = parser.parse_args()
name = Path(options.socket).stem


def note(text: str) -> None:
    if options.journal:
        with Path(options.journal).open("a") as file:
            file.write(f"{name} {text}\n")


if options.crash_if_exists and Path(options.crash_if_exists).exists():
    print(f"{name}: the disk is on fire", flush=True)
    sys.exit(3)
if options.grandchild_pid_file:
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(options.grandchild_pid_file).write_text(str(grandchild.pid))
note("started")


def on_sigterm(*_: object) -> None:
    note("stopping")
    if not options.ignore_sigterm:
        os._exit(0)


signal.signal(signal.SIGTERM, on_sigterm)
listener = socket.socket(socket.AF_UNIX)
listener.bind(options.socket)
listener.listen()
print(f"{name} listens", flush=True)
while True:
    connection, _ = listener.accept()
    connection.recv(65536)
    status = "503 Service Unavailable" if options.never_ready else "200 OK"
    connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nhello".encode())
    connection.close()
    time.sleep(0)
