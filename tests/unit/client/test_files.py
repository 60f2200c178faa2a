from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlmesh.errors import DataLoss, InvalidArgument
from mlmesh.files import Download, describe, is_whole, place_below, sources_of


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_a_file_is_described_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"abc" * 1_000_000)
    source = describe(path, "model.onnx")
    assert (source.digest, source.size_bytes) == (digest_of(b"abc" * 1_000_000), 3_000_000)


def test_a_folder_is_all_its_files_by_relative_name(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b").write_text("b")
    (tmp_path / "sub" / "a").write_text("a")
    assert [source.name for source in sources_of(tmp_path)] == ["b", "sub/a"]
    assert [source.name for source in sources_of(tmp_path / "b")] == ["b"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="there is no file at"):
        sources_of(tmp_path)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", "a\0b", ".."])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataLoss, match="outside of"):
        place_below(tmp_path, name)


@given(st.text(alphabet="ab./\\\0 ", max_size=12))
def test_whatever_the_name_the_file_is_below_the_folder(name: str) -> None:
    folder = Path("/somewhere/below")
    try:
        place = place_below(folder, name)
    except DataLoss:
        return
    assert place.resolve().is_relative_to(folder)
    assert place != folder


def test_a_download_is_in_its_place_only_once_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "sub" / "model"
    download = Download(target, digest_of(b"hello world"))
    download.open()
    download.append(b"hello ")
    assert not target.exists()
    download.append(b"world")
    download.finish()
    assert target.read_bytes() == b"hello world"
    assert list(target.parent.iterdir()) == [target]


def test_a_download_that_broke_off_is_taken_up_where_it_was(tmp_path: Path) -> None:
    target = tmp_path / "model"
    first = Download(target, digest_of(b"hello world"))
    first.open()
    first.append(b"hello ")
    first.close()
    second = Download(target, digest_of(b"hello world"))
    second.open()
    assert second.size_bytes == 6
    second.append(b"world")
    second.finish()
    assert target.read_bytes() == b"hello world"


def test_what_arrived_damaged_is_refused_and_removed(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.write_bytes(b"the old one")
    download = Download(target, digest_of(b"hello"))
    download.open()
    download.append(b"hellO")
    with pytest.raises(DataLoss, match="damaged on its way"):
        download.finish()
    assert target.read_bytes() == b"the old one"
    assert not download.partial.exists()


def test_a_file_that_is_there_and_right_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    assert not is_whole(path, digest_of(b"x"))
    path.write_bytes(b"x")
    assert is_whole(path, digest_of(b"x"))
    assert not is_whole(path, digest_of(b"y"))
