"""Vectors in Redis, one hash a view.

A hash takes 310 bytes an entity of 50 float32, a key of its own 355, and 376 with an expiry; reading and writing are as fast (ADR 61).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.retry import Retry

from servers.features.online.errors import OnlineStoreFull, OnlineStoreMisconfigured, OnlineStoreUnavailable
from servers.features.online.recency import time_prefix
from servers.features.online.store import OnlineRow, Written, batches_of, encoded_view

__all__ = ["RedisOnlineStore"]

_PREFIX = b"mlmesh:online:"
_BATCH_ROWS = 256
_BATCH_BYTES = 1 << 20
_KEYS_A_COMMAND = 1000
_STEP_ROWS = 1000
_MAX_CONNECTIONS = 64

# Byte by byte, as Lua compares texts by the locale of the server.
_GREATER = """
local function greater(left, right)
  if left == right then return false end
  for at = 1, math.min(#left, #right) do
    local one, other = string.byte(left, at), string.byte(right, at)
    if one ~= other then return one > other end
  end
  return #left > #right
end
"""
_WRITE = f"""{_GREATER}
local written = 0
for at = 1, #ARGV, 2 do
  local kept = redis.call('HGET', KEYS[1], ARGV[at])
  if not kept or greater(ARGV[at + 1], kept) then
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
    written = written + 1
  end
end
return written
"""
_REMOVE_OLDER = f"""{_GREATER}
local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local removed = 0
for at = 1, #found[2], 2 do
  if greater(ARGV[3], string.sub(found[2][at + 1], 1, 8)) then
    removed = removed + redis.call('HDEL', KEYS[1], found[2][at])
  end
end
return {{found[1], removed}}
"""


class RedisOnlineStore:
    """Vectors in a Redis (or Valkey) server, 6 or newer. A cluster is refused: a view is one key, so it would not be spread anyway.

    Args:
        url: `redis://` or `rediss://`, with user and password where the server wants them. Comes from the settings.
        timeout_s: Longest wait for a connection, and for each answer, in seconds.
        ca_file: Certificates that may have signed the server's, as PEM; the system's by default.
    """

    def __init__(self, url: str, *, timeout_s: float = 2.0, ca_file: str | None = None) -> None:
        tls = {} if ca_file is None else {"ssl_ca_certs": ca_file}
        # A write may be repeated, since it changes nothing twice; a server that was restarted is found again by that.
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=_MAX_CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), retries=1),
            **tls,
        )
        self._client = redis.Redis.from_pool(pool)
        self._write = self._client.register_script(_WRITE)
        self._remove = self._client.register_script(_REMOVE_OLDER)

    def write(self, view: str, rows: Iterable[OnlineRow]) -> Written:
        """See `OnlineStore`. A batch is one script, which nothing comes between; a repeat after a lost answer counts as kept."""
        name = _name(view)
        total = Written(0, 0)
        for batch in batches_of(rows, _BATCH_ROWS, _BATCH_BYTES):
            with _typed():
                written = cast("int", self._write(keys=[name], args=[part for row in batch for part in row]))
            total += Written(written, len(batch) - written)
        return total

    def read(self, view: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `OnlineStore`."""
        return self.read_many({view: keys})[view]

    def read_many(self, keys: Mapping[str, Sequence[bytes]]) -> dict[str, list[bytes | None]]:
        """See `OnlineStore`. Many keys are several commands, so that others are served in between, sent at once."""
        commands = [
            (view, _name(view), wanted[start : start + _KEYS_A_COMMAND])
            for view, wanted in keys.items()
            for start in range(0, len(wanted), _KEYS_A_COMMAND)
        ]
        vectors: dict[str, list[bytes | None]] = {view: [] for view in keys}
        with _typed():
            answers = self._answers([(name, part) for _, name, part in commands])
        for (view, _, _), answer in zip(commands, answers, strict=True):
            vectors[view] += answer
        return vectors

    def delete(self, view: str, keys: Sequence[bytes]) -> int:
        """See `OnlineStore`."""
        name = _name(view)
        removed = 0
        for start in range(0, len(keys), _KEYS_A_COMMAND):
            with _typed():
                removed += self._client.hdel(name, *keys[start : start + _KEYS_A_COMMAND])
        return removed

    def remove_older(self, view: str, before_us: int) -> int:
        """See `OnlineStore`. The server looks for them itself: no vector travels."""
        name, threshold = _name(view), time_prefix(before_us)
        removed, cursor = 0, b"0"
        while True:
            with _typed():
                cursor, count = cast("tuple[bytes, int]", self._remove(keys=[name], args=[cursor, _STEP_ROWS, threshold]))
            removed += count
            if cursor == b"0":
                return removed

    def drop(self, view: str) -> None:
        """See `OnlineStore`. It is gone at once; the server frees its memory in the background."""
        with _typed():
            self._client.unlink(_name(view))

    def count(self, view: str) -> int:
        """See `OnlineStore`."""
        with _typed():
            return self._client.hlen(_name(view))

    def check(self) -> None:
        """See `OnlineStore`. A Redis that evicts any key would lose whole views."""
        with _typed():
            facts = self._client.info("memory") | self._client.info("cluster")
        policy = str(facts.get("maxmemory_policy", "noeviction"))
        if policy.startswith("allkeys") and facts.get("maxmemory"):
            raise OnlineStoreMisconfigured(
                f"this Redis drops whole views when its memory is full (maxmemory-policy {policy}); set noeviction"
            )
        if facts.get("cluster_enabled"):
            raise OnlineStoreMisconfigured("a Redis Cluster is not supported: a view is one key; use a single server with replicas")

    def close(self) -> None:
        """See `OnlineStore`."""
        self._client.connection_pool.disconnect()

    def _answers(self, commands: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[list[bytes | None]]:
        if len(commands) == 1:
            name, keys = commands[0]
            return [cast("list[bytes | None]", self._client.hmget(name, cast("list[Any]", keys)))]
        pipeline = self._client.pipeline(transaction=False)
        for name, keys in commands:
            pipeline.hmget(name, cast("list[Any]", keys))
        return cast("list[list[bytes | None]]", pipeline.execute())


def _name(view: str) -> bytes:
    return _PREFIX + encoded_view(view)


@contextmanager
def _typed() -> Iterator[None]:
    try:
        yield
    except OutOfMemoryError:
        raise OnlineStoreFull(
            "the memory of the online store's Redis is full; raise maxmemory or remove vectors, then repeat the call"
        ) from None
    except (AuthenticationError, AuthorizationError, NoPermissionError):
        raise OnlineStoreUnavailable("Redis refuses the credentials, or they may not do what the store does") from None
    except (redis.ConnectionError, redis.TimeoutError, BusyLoadingError, TryAgainError):
        raise OnlineStoreUnavailable("Redis does not answer") from None
    except ReadOnlyError:
        raise OnlineStoreUnavailable("this Redis is a replica, and takes no writes") from None
    except ResponseError as error:
        # A script passes on what its commands met, and a full disk stops writes, as words only.
        if "OOM" in str(error):
            raise OnlineStoreFull(
                "the memory of the online store's Redis is full; raise maxmemory or remove vectors, then repeat the call"
            ) from None
        if any(word in str(error) for word in ("READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN", "LOADING", "BUSY")):
            raise OnlineStoreUnavailable(f"Redis takes no writes ({str(error).split()[0]})") from None
        if "NOPERM" in str(error):
            raise OnlineStoreUnavailable("Redis refuses the credentials, or they may not do what the store does") from None
        raise
