"""Runs the whole mesh: what `mlmesh up` becomes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import stat
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path

from servers.run_lock import AlreadyRunning, exclusive
from servers.runtime.free_ports import check_port, free_port
from servers.runtime.supervision_limits import SupervisionLimits
from servers.runtime.supervisor import ProcessStatus, StartFailed, Supervisor
from servers.topology import Place, mesh_environment, mesh_processes, serving_worker_count

# Each thread of a numeric library keeps buffers of its own, and each malloc arena its own free lists: on servers that are mostly
# idle that is memory for nothing. Set one of these yourself to have more.
_FRUGAL = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}

_HEALTHY = "HEALTH_STATE_HEALTHY"
_HEALTH_INTERVAL_S = 0.1
_HEALTH_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class CannotStart(Exception):
    """The mesh did not start; the message says why and what to do."""


@dataclass(frozen=True)
class Started:
    """A mesh that is healthy.

    Args:
        url: Where it is reached.
        startup_s: Seconds from the start until everything was healthy.
        announcement: What to tell the person who started it.
        first_password_file: File to remove once the announcement was shown, since it has the admin's generated password.
    """

    url: str
    startup_s: float
    announcement: str
    first_password_file: str


def run_mesh(data_dir: Path, host: str, port: int, *, on_started: Callable[[Started], None]) -> None:
    """Starts a mesh and runs it until SIGTERM or SIGINT; a second signal stops it without grace.

    Args:
        data_dir: Where it keeps everything.
        host: Address on which to serve.
        port: Port on which to serve; 0 = any free one.
        on_started: Called once everything is healthy.

    Raises:
        CannotStart: It did not become healthy; nothing of it runs any more.
    """
    try:
        limits = SupervisionLimits()
        serving_worker_count()
    except ValueError as error:
        raise CannotStart(f"a setting of the supervisor is wrong: {error}") from None
    place = Place.of(data_dir)
    _prepare(place)
    try:
        with exclusive(place.data_dir / "mesh.lock"):
            _log_to(place.log_dir / "supervisor.log", limits.log_size_bytes)
            asyncio.run(_run(place, host, _usable_port(host, port), limits, on_started))
    except AlreadyRunning as error:
        raise CannotStart(str(error)) from None


async def _run(place: Place, host: str, port: int, limits: SupervisionLimits, on_started: Callable[[Started], None]) -> None:
    begun = time.monotonic()
    reachable = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host  # noqa: S104 (compared with, not bound)
    url = f"http://{reachable}:{port}"
    environment = {**_FRUGAL, **os.environ, **mesh_environment(place, host, port), "PYTHONPATH": _python_path(os.environ)}
    state_file = place.data_dir / "state.json"
    supervisor = Supervisor(
        mesh_processes(place, host, port),
        environment=environment,
        working_dir=place.run_dir,
        log_dir=place.log_dir,
        limits=limits,
        on_change=lambda statuses: _write_state(state_file, url, place, statuses),
    )
    asked_to_stop = _stop_on_signals()
    try:
        if await _started(supervisor, url, limits.start_timeout_s, asked_to_stop):
            startup_s = time.monotonic() - begun
            log.info("healthy after %.1f s at %s", startup_s, url)
            on_started(Started(url, startup_s, _announcement(place, url, startup_s), str(place.first_password_file)))
            await asked_to_stop.wait()
        log.info("stopping")
    except StartFailed as failure:
        raise CannotStart(_explain(failure)) from failure
    finally:
        await supervisor.stop()
        state_file.unlink(missing_ok=True)
        log.info("stopped")


async def _started(supervisor: Supervisor, url: str, timeout_s: float, asked_to_stop: asyncio.Event) -> bool:
    """Returns whether the mesh is healthy; False where somebody wants it to stop before that."""

    async def start() -> None:
        await supervisor.start()
        await _become_healthy(url, timeout_s)

    starting, stopping = asyncio.create_task(start()), asyncio.create_task(asked_to_stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        return starting.done()
    finally:
        starting.cancel()
        stopping.cancel()


async def _become_healthy(url: str, timeout_s: float) -> None:
    """Returns once the mesh itself says, through its front door, that all of it is healthy.

    Servers that started before those they need know it some moments later.

    Raises:
        CannotStart: It does not in time; the message has the reason of each component that is not.
    """
    why_not = "not asked yet"
    try:
        async with asyncio.timeout(timeout_s):
            while why_not := await asyncio.to_thread(_why_unhealthy, f"{url}/api/v1/health"):
                await asyncio.sleep(_HEALTH_INTERVAL_S)
    except TimeoutError:
        raise CannotStart(f"the mesh runs and was not healthy within {timeout_s:g} s: {why_not}") from None


def _why_unhealthy(url: str) -> str:
    try:
        # Opened directly: a proxy of the environment is no way to a port of this machine.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=_HEALTH_TIMEOUT_S) as answer:
            health = json.load(answer)
    except (OSError, ValueError) as error:
        return f"{url}: {error}"
    ill = [f"{one['component']}: {one['reason']}" for one in health["components"] if one["state"] != _HEALTHY]
    return "; ".join(ill) or ("" if health["state"] == _HEALTHY else str(health["state"]))


def _stop_on_signals() -> asyncio.Event:
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(signal_number: signal.Signals) -> None:
        asked_to_stop.set()
        # A second Ctrl-C ends the supervisor at once, and the kernel ends its children.
        loop.remove_signal_handler(signal_number)

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, on_signal, signal_number)
    return asked_to_stop


def _prepare(place: Place) -> None:
    for folder in (place.data_dir, place.log_dir, place.data_dir / "secrets", place.run_dir):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CannotStart(f"cannot make {folder}: {error.strerror}; choose another --data-dir") from None
    # In a shared temporary folder somebody else may have made it first, to listen in.
    state = place.run_dir.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise CannotStart(f"{place.run_dir} has to be a folder of yours that nobody else may enter (mode 0700); remove it")
    if not os.access(place.data_dir, os.W_OK):
        raise CannotStart(f"{place.data_dir} is not writable; choose another --data-dir")


def _usable_port(host: str, port: int) -> int:
    """Returns the port, or a free one for 0.

    Raises:
        CannotStart: It is in use, or not ours to serve on.
    """
    try:
        if not port:
            return free_port(host)
        check_port(host, port)
    except (OSError, OverflowError) as error:
        why = "is in use" if isinstance(error, OSError) and "in use" in str(error) else f"cannot be served on: {error}"
        raise CannotStart(f"port {port} of {host} {why}; choose another with --port, or 0 for any free one") from None
    return port


def _python_path(environment: Mapping[str, str]) -> str:
    """Import path of the children: the platform's code, and in a source tree the client and the stubs, before what the user set."""
    root = Path(__file__).resolve().parents[1]
    ours = [str(root), *(str(folder) for folder in (root / "gen" / "python", root / "clients" / "python") if folder.is_dir())]
    return os.pathsep.join([*ours, *filter(None, [environment.get("PYTHONPATH")])])


def _write_state(path: Path, url: str, place: Place, statuses: tuple[ProcessStatus, ...]) -> None:
    state = {
        "supervisor_pid": os.getpid(),
        "url": url,
        "run_dir": str(place.run_dir),
        "processes": [{**asdict(status), "since": status.since.isoformat()} for status in statuses],
    }
    fresh = path.with_name(path.name + ".new")
    # The state only informs: on a full disk it is old, which must not stop the supervisor from supervising.
    with contextlib.suppress(OSError):
        fresh.write_text(json.dumps(state, indent=1), "utf-8")
        fresh.replace(path)


def _log_to(path: Path, size_bytes: int) -> None:
    handler = RotatingFileHandler(path, maxBytes=size_bytes, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _announcement(place: Place, url: str, startup_s: float) -> str:
    """Says where everything is, and on the first start the password of the admin."""
    lines = [
        f"mlmesh is up at {url} (healthy after {startup_s:.1f} s)",
        f"  documentation  {url}/docs",
        f"  health         {url}/api/v1/health",
        f"  logs           {place.log_dir}",
    ]
    with contextlib.suppress(FileNotFoundError):
        password = place.first_password_file.read_text("utf-8").strip()
        lines += [
            f"  first log-in   user admin, password {password}",
            "                 (shown this once; change it with `mlmesh users set-password`)",
        ]
    return "\n".join(lines)


def _explain(failure: StartFailed) -> str:
    if not failure.log_tail:
        return f"{failure}. It wrote nothing to {failure.log_file}."
    return f"{failure}. The end of {failure.log_file}:\n{failure.log_tail}"
