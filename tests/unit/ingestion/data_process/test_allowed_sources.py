"""A request reads below the allowed places, and nowhere else, however its URI is written."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from servers.ingestion.data_process.allowed_sources import AllowedFile, AllowedSources
from servers.ingestion.data_process.source_errors import InvalidSourceUri, SourceNotAllowed, SourceNotFound, SourceNotReadable
from servers.ingestion.data_process.source_uris import S3Uri
from servers.ingestion.data_process.sources import Sources
from servers.ingestion.errors import FileTooLarge

REFUSALS = (InvalidSourceUri, SourceNotAllowed, SourceNotFound)


@contextmanager
def tree() -> Iterator[Path]:
    """`allowed` with files and links, `allowed-not` and `secret` beside it."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in ("allowed/inner", "allowed-not", "secret"):
            (root / folder).mkdir(parents=True)
        for public in ("allowed/a.csv", "allowed/inner/b.csv", "allowed/50% off.csv"):
            (root / public).write_text("public")
        for private in ("allowed-not/a.csv", "secret/a.csv", "a.csv"):
            (root / private).write_text("secret")
        (root / "allowed/in").symlink_to("inner")
        (root / "allowed/out").symlink_to("../secret")
        (root / "allowed/leak.csv").symlink_to("../secret/a.csv")
        (root / "allowed/loop").symlink_to("loop")
        yield root


@pytest.fixture
def root() -> Iterator[Path]:
    with tree() as folder:
        yield folder


def sources(*entries: str, max_file_bytes: int = 100) -> Sources:
    return Sources(AllowedSources(entries), "", Path("/nowhere"), max_file_bytes)


def read(uri: str, *entries: str, max_file_bytes: int = 100) -> tuple[str, str]:
    with sources(*entries, max_file_bytes=max_file_bytes).opened({"kind": "uri", "uri": uri}) as source:
        return source.path.read_text(), source.name


class TestFiles:
    @pytest.mark.parametrize(
        ("tail", "name"),
        [
            ("a.csv", "a.csv"),
            ("inner/../a.csv", "a.csv"),
            ("inner/%2E%2E/a.csv", "a.csv"),
            ("%61.csv", "a.csv"),
            ("in/b.csv", "b.csv"),
            ("inner%2Fb.csv", "b.csv"),
            ("50%25%20off.csv", "50% off.csv"),
            ("/inner//b.csv", "b.csv"),
        ],
    )
    def test_what_lies_below_is_read_however_it_is_written(self, root: Path, tail: str, name: str) -> None:
        allowed = (root / "allowed").as_uri()
        assert read(f"{allowed}/{tail}", allowed) == ("public", name)
        assert read(f"{allowed}/{tail}".replace("file://", "file://localhost"), f"{allowed}/") == ("public", name)

    @pytest.mark.parametrize(
        "tail",
        [
            *(
                "../secret/a.csv",
                "%2e%2e/secret/a.csv",
                "..%2fsecret%2Fa.csv",
                "out/a.csv",
                "leak.csv",
                "../allowed-not/a.csv",
                "in/../../a.csv",
            ),
            *("out/../a.csv", "", ".", "out/not-there", "loop", "../secret/not-there", "../allowed-not", "inner/../../secret/../a.csv"),
        ],
    )
    def test_what_lies_elsewhere_is_refused_whether_or_not_it_is_there(self, root: Path, tail: str) -> None:
        allowed = (root / "allowed").as_uri()
        with pytest.raises(SourceNotAllowed) as caught:
            read(f"{allowed}/{tail}", allowed)
        assert "MLMESH_INGESTION_ALLOWED_SOURCES" in caught.value.message
        assert str(root) not in caught.value.message

    # Segments of which many make ways out; whatever is opened must be one of the public files.
    @given(
        st.lists(
            st.sampled_from(["..", "%2e%2E", ".", "", "inner", "in", "out", "loop", "allowed", "secret", "a.csv", "b.csv", "leak.csv"])
        )
    )
    @example(["out", "..", "allowed", "a.csv"])
    def test_no_way_leads_to_a_secret(self, segments: list[str]) -> None:
        with tree() as root:
            allowed = (root / "allowed").as_uri()
            try:
                text, _ = read("/".join((allowed, *segments)), allowed)
            except REFUSALS:
                return
            assert text == "public"

    def test_nothing_is_allowed_by_default(self, root: Path) -> None:
        with pytest.raises(SourceNotAllowed):
            read((root / "allowed/a.csv").as_uri())

    def test_an_allowed_folder_may_be_a_link_itself(self, root: Path) -> None:
        (root / "here").symlink_to("allowed")
        assert read((root / "here/a.csv").as_uri(), (root / "here").as_uri()) == ("public", "a.csv")

    def test_the_root_of_all_files_may_be_allowed(self, root: Path) -> None:
        assert read((root / "secret/a.csv").as_uri(), "file:///") == ("secret", "a.csv")

    def test_a_link_that_appears_after_the_check_leads_nowhere(self, root: Path) -> None:
        allowed = AllowedSources([(root / "allowed").as_uri()])
        checked = allowed.allowed((root / "allowed/inner/b.csv").as_uri())

        class Swapped(AllowedSources):
            def allowed(self, uri: str) -> AllowedFile | S3Uri:
                return checked

        (root / "secret/b.csv").write_text("secret")
        (root / "allowed/inner").rename(root / "allowed/before")
        (root / "allowed/inner").symlink_to("../secret")
        with pytest.raises((SourceNotAllowed, SourceNotFound)), Sources(Swapped([]), "", root, 9).opened({"kind": "uri", "uri": ""}):
            pass

    @pytest.mark.parametrize("name", ["inner", "inner/", "pipe", "socket"])
    def test_only_files_are_read(self, root: Path, name: str) -> None:
        os.mkfifo(root / "allowed/pipe")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(root / "allowed/socket"))
            with pytest.raises(InvalidSourceUri):
                read(f"{(root / 'allowed').as_uri()}/{name}", (root / "allowed").as_uri())

    def test_a_device_is_not_opened(self) -> None:
        with pytest.raises(InvalidSourceUri):
            read("file:///dev/null", "file:///dev")

    @pytest.mark.parametrize("tail", ["none.csv", "none/a.csv", "a.csv/a.csv", "x" * 300])
    def test_what_is_not_there_is_not_found(self, root: Path, tail: str) -> None:
        with pytest.raises(SourceNotFound):
            read(f"{(root / 'allowed').as_uri()}/{tail}", (root / "allowed").as_uri())

    @pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
    def test_what_may_not_be_read_is_said_so(self, root: Path) -> None:
        (root / "allowed/a.csv").chmod(0)
        with pytest.raises(SourceNotReadable):
            read((root / "allowed/a.csv").as_uri(), (root / "allowed").as_uri())

    def test_a_file_beyond_the_limit_is_refused(self, root: Path) -> None:
        uri, allowed = (root / "allowed/a.csv").as_uri(), (root / "allowed").as_uri()
        assert read(uri, allowed, max_file_bytes=6)[0] == "public"
        with pytest.raises(FileTooLarge):
            read(uri, allowed, max_file_bytes=5)

    def test_what_the_server_wrote_needs_no_permission(self, root: Path) -> None:
        spooled = {"kind": "file", "path": str(root / "secret/a.csv"), "name": "flights.csv"}
        with sources().opened(spooled) as source:
            assert (source.path.read_text(), source.name) == ("secret", "flights.csv")
        with pytest.raises(SourceNotFound), sources().opened(spooled | {"path": str(root / "gone")}):
            pass


class TestS3:
    ALLOWED = ("s3://data/landing/flights", "s3://open/", "s3://data-2/a%20b/")

    @pytest.mark.parametrize(
        ("uri", "bucket", "key"),
        [
            ("s3://data/landing/flights/2026.csv", "data", "landing/flights/2026.csv"),
            ("s3://data/landing/flights/100%25.csv", "data", "landing/flights/100%.csv"),
            ("s3://data/landing%2Fflights/a", "data", "landing/flights/a"),
            ("s3://open/anything", "open", "anything"),
            ("s3://open//a", "open", "/a"),
            ("s3://data-2/a%20b/c", "data-2", "a b/c"),
        ],
    )
    def test_what_lies_below_is_allowed(self, uri: str, bucket: str, key: str) -> None:
        assert AllowedSources(self.ALLOWED).allowed(uri) == S3Uri(bucket, key)

    @pytest.mark.parametrize(
        "uri",
        [
            *("s3://data/landing/flights-secret/a.csv", "s3://data/landing/flights", "s3://data/other", "s3://other/landing/flights/a.csv"),
            *("s3://data-3/landing/flights/a", "s3://data//landing/flights/a", "s3://data/", "s3://data", "s3://data/Landing/flights/a"),
        ],
    )
    def test_other_buckets_and_prefixes_are_not(self, uri: str) -> None:
        with pytest.raises(SourceNotAllowed):
            AllowedSources(self.ALLOWED).allowed(uri)

    @pytest.mark.parametrize(
        "uri",
        [
            "s3://data/landing/flights/../secret/a",
            "s3://data/landing/flights/%2e%2E/a",
            "s3://open/./a",
            "s3://data/landing/flights/",
            "s3://open/",
        ],
    )
    def test_keys_that_name_no_object_are_refused(self, uri: str) -> None:
        with pytest.raises(InvalidSourceUri):
            AllowedSources(self.ALLOWED).allowed(uri)

    @given(st.text(max_size=30), st.sampled_from(["data", "data-2", "other"]))
    def test_whatever_is_allowed_is_below_a_prefix(self, tail: str, bucket: str) -> None:
        try:
            found = AllowedSources(self.ALLOWED[::2]).allowed(f"s3://{bucket}/{quote(tail, safe='/.%', errors='replace')}")
        except (InvalidSourceUri, SourceNotAllowed):
            return
        assert isinstance(found, S3Uri)
        assert (found.bucket, found.key[:16]) == ("data", "landing/flights/") or (found.bucket, found.key[:4]) == ("data-2", "a b/")


class TestUris:
    @pytest.mark.parametrize(
        "uri",
        [
            *("", "a.csv", "/etc/passwd", "file:/etc/passwd", "FILE:///etc/passwd", "http://host/a", "file://host/etc/passwd", "s3:///key"),
            *(
                "file:///a?b",
                "file:///a#b",
                "file:///a b",
                "file:///a\nb",
                "file:///a\\b",
                "file:///%zz",
                "file:///%",
                "file:///%00",
                "file:///%ff",
            ),
            *("file:///\ud800", "s3://user:secret@data/a", "s3://data:9000/a", "s3://DATA/a", "s3://d/a", "file:///" + "a" * 5000),
            *("s3://open/" + "k" * 1025, "s3://open/a?versionId=secret", " file:///a", "gs://open/a"),
        ],
    )
    def test_uris_of_another_form_are_refused_and_not_repeated(self, uri: str) -> None:
        with pytest.raises(InvalidSourceUri) as caught:
            AllowedSources(["file:///", "s3://open"]).allowed(uri)
        assert "secret" not in caught.value.message

    @given(st.text(max_size=60) | st.from_regex(r"(file|s3)://[a-z.@/%?#-]{0,20}", fullmatch=True))
    def test_no_text_makes_it_fail_otherwise(self, uri: str) -> None:
        found: object = None
        with suppress(InvalidSourceUri, SourceNotAllowed):
            found = AllowedSources(["file:///", "s3://open"]).allowed(uri)
        assert found is None or isinstance(found, AllowedFile | S3Uri)

    @pytest.mark.parametrize("entry", ["/data", "s3://user:secret@data/a", "https://host/secret", "s3://data?secret"])
    def test_entries_of_another_form_stop_the_server_and_are_not_repeated(self, entry: str) -> None:
        with pytest.raises(ValueError, match="entry 2 of MLMESH_INGESTION_ALLOWED_SOURCES") as caught:
            AllowedSources(["file:///", entry])
        assert "secret" not in str(caught.value)
