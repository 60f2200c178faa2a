"""From a URL in the settings to an online store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from servers.features.online.errors import OnlineStoreUrlError
from servers.features.online.store import OnlineStore

__all__ = ["open_online_store"]

_ALLOWED = "lmdb:///folder, redis://host:port/0, rediss://host:port/0?ca_file=/file.pem and postgresql://user@host/database"


def open_online_store(url: str, *, max_bytes: int = 16 << 30, timeout_s: float = 2.0) -> OnlineStore:
    """Open the store that a URL names.

    Args:
        url: `lmdb:///folder` on a local disk (made where it does not exist; one store a process and folder), `redis://`, or `rediss://`
            with the option `ca_file`, or `postgresql://`; with user and password where the server wants them. Comes from the settings,
            never from a request.
        max_bytes: How large the file of LMDB may become. Redis has its `maxmemory`, PostgreSQL its disk.
        timeout_s: Longest wait for an answer of Redis or PostgreSQL, in seconds.

    Raises:
        OnlineStoreUrlError: If the URL cannot be understood. The text has no credentials in it.
        OnlineStoreUnavailable: If LMDB or PostgreSQL cannot be opened. Redis is asked by the first call.
        OnlineStoreMisconfigured: If the folder is not on a local disk, or this process has it open already.
        ImportError: If the driver is not installed; the text says how to.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise OnlineStoreUrlError(f"the URL of the online store cannot be read; allowed are {_ALLOWED}") from None
    if parts.scheme == "lmdb":
        return _lmdb(parts, max_bytes)
    if parts.scheme in ("redis", "rediss") and parts.hostname:
        return _redis(parts, timeout_s)
    if parts.scheme.partition("+")[0] in ("postgresql", "postgres"):
        return _postgresql(url, timeout_s)
    raise OnlineStoreUrlError(f"a URL of the scheme {parts.scheme[:20]!r} names no online store; allowed are {_ALLOWED}")


def _lmdb(parts: SplitResult, max_bytes: int) -> OnlineStore:
    folder = Path(unquote(parts.path))
    if parts.netloc or parts.query or parts.fragment or not folder.is_absolute() or folder == Path("/"):
        raise OnlineStoreUrlError("the URL of an online store in LMDB is lmdb:/// and the absolute path of a folder, with nothing else")
    try:
        from servers.features.online.lmdb_store import LmdbOnlineStore
    except ModuleNotFoundError as error:
        raise _missing(error, "features") from None
    return LmdbOnlineStore(folder, max_bytes=max_bytes)


def _redis(parts: SplitResult, timeout_s: float) -> OnlineStore:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    database = parts.path.strip("/")
    # redis-py takes all of its own options from a URL, and with some of them a server is no longer asked for its certificate.
    allowed = {"ca_file"} if parts.scheme == "rediss" else set()
    if options.keys() - allowed or not (database == "" or (database.isascii() and database.isdecimal())):
        raise OnlineStoreUrlError(
            f"the URL of an online store in Redis has the number of a database and the options {sorted(allowed)} behind the host;"
            f" got the options {sorted(options)[:10]}"
        )
    try:
        from servers.features.online.redis_store import RedisOnlineStore
    except ModuleNotFoundError as error:
        raise _missing(error, "features") from None
    return RedisOnlineStore(parts._replace(query="", fragment="").geturl(), timeout_s=timeout_s, ca_file=options.get("ca_file"))


def _postgresql(url: str, timeout_s: float) -> OnlineStore:
    try:
        from servers.features.online.postgresql_store import PostgresqlOnlineStore
    except ModuleNotFoundError as error:
        raise _missing(error, "postgresql") from None
    from sql_engine import DatabaseUrlError

    try:
        return PostgresqlOnlineStore(url, timeout_s=timeout_s)
    except DatabaseUrlError as error:
        raise OnlineStoreUrlError(str(error)) from None


def _missing(error: ModuleNotFoundError, extra: str) -> ImportError:
    return ImportError(f"this online store needs the package {error.name}; install it with: pip install 'mlmesh[{extra}]'")
