from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from servers.runtime import free_ports
from servers.runtime.free_ports import check_port, free_port


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> range:
    """Twenty ports, of which the kernel gives none away."""
    first = free_port()
    given_away = tmp_path / "ip_local_port_range"
    given_away.write_text(f"{first + 20}\t60999\n")
    monkeypatch.setattr(free_ports, "_LEAST", first)
    monkeypatch.setattr(free_ports, "_MOST_IN_USE", 1)
    monkeypatch.setattr(free_ports, "_EPHEMERAL", given_away)
    return range(first, first + 20)


def test_they_differ_and_are_none_of_those_that_the_kernel_gives_away(few: range) -> None:
    for _ in range(20):
        found = free_ports.free_ports(10)
        assert len(set(found)) == 10
        assert set(found) <= set(few)


def test_one_that_is_in_use_is_not_given(few: range, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", few[0])):
        with pytest.raises(OSError, match="in use"):
            check_port("127.0.0.1", few[0])
        monkeypatch.setattr(free_ports, "_end", lambda: few[2])
        assert {free_port() for _ in range(20)} == {few[1]}


def test_an_address_of_another_machine_is_refused_at_once() -> None:
    with pytest.raises(OSError, match=r".") as refused:
        free_port("203.0.113.7")
    assert refused.value.errno == errno.EADDRNOTAVAIL
