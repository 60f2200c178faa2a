"""Load of a fixed concurrency, made by h2load: C, so that it leaves the processor to the servers."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.serving.calls import Call

_PATIENCE_S = 15.0


@dataclass(frozen=True)
class Answered:
    """What came back in one run.

    Args:
        requests: Answers, all of them 2xx.
        per_s: Answers a second.
        mean_ms: Mean time from sending a request to the end of its answer, in milliseconds.
        p50_ms: Its median.
        p99_ms: Its 99th percentile.
        body_bytes: Bytes of all bodies together, also of answers that the end of the run cut off.
    """

    requests: int
    per_s: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    body_bytes: int


def check_h2load() -> str:
    """Returns the version of h2load.

    Raises:
        SystemExit: There is none.
    """
    if shutil.which("h2load") is None:
        raise SystemExit("h2load makes the load and is not installed; it comes with nghttp2: apt-get install nghttp2-client")
    return subprocess.run(("h2load", "--version"), capture_output=True, text=True, check=True).stdout.strip()


def send(call: Call, concurrency: int, seconds: float) -> Answered:
    """Repeats a request for as many callers, each with one request at a time.

    Args:
        call: The request.
        concurrency: Callers.
        seconds: How long.

    Returns:
        What came back.

    Raises:
        SystemExit: An answer was no 2xx, or a connection broke.
    """
    with tempfile.TemporaryDirectory(prefix="bench-load-") as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(call.body)
        # The header has the token, and arguments are seen by all users of a machine: it is one of the run's own mesh, and dies with it.
        headers = [part for name, value in call.all_headers.items() for part in ("-H", f"{name}: {value}")]
        # As real clients do it: a gRPC channel has one connection with a stream a call, HTTP/1.1 a connection a call.
        connections, streams = (1, concurrency) if call.is_grpc else (concurrency, 1)
        size = ("-c", str(connections), "-t", "1", "-m", str(streams), "-D", f"{round(seconds * 1000)}ms", "--log-file", str(log))
        command = ("h2load", *(() if call.is_grpc else ("--h1",)), *size, "-d", str(body), *headers, call.url)
        printed = _printed(command, seconds + _PATIENCE_S, call.url)
        latencies_us = np.loadtxt(log, dtype=np.int64, usecols=2, ndmin=1)
    done = int(_found(r"(\d+) done", printed))
    # The status codes also count answers that the end of the run cut off.
    if not done or not re.search(rf" {done} succeeded, 0 failed, 0 errored, 0 timeout\n.* 0 3xx, 0 4xx, 0 5xx\n", printed):
        raise SystemExit(f"not every request to {call.url} was answered with 2xx:\n{printed}")
    return Answered(
        requests=done,
        per_s=float(_found(r"([\d.]+) req/s", printed)),
        mean_ms=float(latencies_us.mean()) / 1000,
        p50_ms=float(np.percentile(latencies_us, 50)) / 1000,
        p99_ms=float(np.percentile(latencies_us, 99)) / 1000,
        body_bytes=int(_found(r"\((\d+)\) data", printed)),
    )


def _printed(command: Sequence[str], timeout_s: float, url: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        # It never ends when it is answered before its body is sent, as refusals are.
        raise SystemExit(f"h2load does not end: {url} probably refuses the requests") from None
    if done.returncode:
        raise SystemExit(f"h2load failed for {url}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"h2load printed something else than expected (no {pattern!r}):\n{text}")
    return match[1]
