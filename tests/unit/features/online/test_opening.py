"""URLs of online stores, and what their errors do not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from servers.features.online import open_online_store
from servers.features.online.errors import OnlineStoreMisconfigured, OnlineStoreUnavailable, OnlineStoreUrlError
from servers.features.online.lmdb_store import LmdbOnlineStore


@pytest.mark.parametrize(
    "url",
    [
        "",
        "online",
        "/var/lib/online",
        "lmdb://folder",
        "lmdb:///",
        "lmdb:relative",
        "lmdb:///folder?max_bytes=1",
        "redis://",
        "redis:///0",
        "redis://user:secret@host:no/0",
        "redis://user:secret@host:6379/first",
        "redis://user:secret@host/0?ca_file=/a.pem",
        "rediss://user:secret@host/0?ssl_cert_reqs=none",
        "unix://user:secret@/redis.sock",
        "mysql://user:secret@host/database",
        "postgresql://user:secret@host:no/database",
        "http://user:secret@[::1/",
    ],
)
def test_a_url_that_names_no_store_is_refused_without_its_credentials(url: str) -> None:
    with pytest.raises(OnlineStoreUrlError) as caught:
        open_online_store(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://user:secret@127.0.0.1:1/0", "rediss://:secret@127.0.0.1:1", "postgresql://user:secret@127.0.0.1:1/database"]
)
def test_a_server_that_is_not_there_is_unavailable_with_a_time_to_try_again(url: str) -> None:
    with pytest.raises(OnlineStoreUnavailable) as caught:
        open_online_store(url, timeout_s=0.5).check()
    assert caught.value.retry_after_s == 1
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "with space" / "online"
    store = open_online_store(f"lmdb://{tmp_path}/with%20space/online")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()} == {"data.mdb": 0o600, "lock.mdb": 0o600}
    store.close()


def test_a_folder_is_opened_once_a_process(tmp_path: Path) -> None:
    store = LmdbOnlineStore(tmp_path)
    with pytest.raises(OnlineStoreMisconfigured, match="open already; share one store"):
        LmdbOnlineStore(tmp_path)
    store.close()
    LmdbOnlineStore(tmp_path).close()


def test_a_folder_that_cannot_be_used_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"something else" * 1000)
    with pytest.raises(OnlineStoreUnavailable, match="LMDB in"):
        LmdbOnlineStore(tmp_path)


def test_a_folder_of_the_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mount:
        mountpoint, fstype = str(tmp_path), "nfs4"

    monkeypatch.setattr("servers.features.online.lmdb_store.psutil.disk_partitions", lambda all: [Mount])
    with pytest.raises(OnlineStoreMisconfigured, match="is on nfs4"):
        LmdbOnlineStore(tmp_path / "online")


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = LmdbOnlineStore(tmp_path)
    store.close()
    store.close()
    with pytest.raises(OnlineStoreUnavailable):
        store.read("view", [b"a"])
