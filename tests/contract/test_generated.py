from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.contracts import compiler, generate, layout
from tools.contracts.reading import Contracts

# What the oldest protobuf that we allow can load.
_NEWEST_GENERATED_CODE = (6, 31)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("gen")
    generate.generate(target)
    return target


def test_gen_is_what_the_contracts_say(fresh: Path) -> None:
    assert generate.differences(fresh, layout.GENERATED) == [], "run `make generate` and commit gen/"


def test_generating_twice_gives_the_same_bytes(fresh: Path, tmp_path: Path) -> None:
    generate.generate(tmp_path)

    assert generate.differences(tmp_path, fresh) == []


def test_a_difference_of_any_kind_is_found(tmp_path: Path) -> None:
    fresh, present = tmp_path / "fresh", tmp_path / "present"
    for folder, files in ((fresh, {"new": "1", "changed": "1", "same": "1"}), (present, {"changed": "2", "same": "1", "old": "1"})):
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)

    assert generate.differences(fresh, present) == ["missing: new", "outdated: changed", "left over: old"]

    generate.replace(fresh, present)

    assert generate.differences(fresh, present) == []


def test_the_gateways_set_holds_every_error_detail_and_no_comments() -> None:
    committed = (layout.GENERATED / layout.DESCRIPTORS).read_bytes()
    contracts = Contracts.of_image(committed)

    for name in ("ErrorInfo", "BadRequest", "PreconditionFailure", "ResourceInfo", "RetryInfo", "QuotaFailure", "RequestInfo", "Help"):
        assert contracts.message_type(f"google.rpc.{name}").fields
    assert contracts.message_type("google.rpc.Status").fields
    assert all(not contracts.comment(method.full_name) for method in contracts.methods())


def test_stubs_load_on_the_oldest_protobuf_that_we_allow() -> None:
    made_by = {
        tuple(int(part) for part in found)
        for path in (layout.GENERATED / layout.PYTHON).rglob("*_pb2.py")
        for found in re.findall(r"# Protobuf Python Version: (\d+)\.(\d+)", path.read_text())
    }

    assert made_by == {_NEWEST_GENERATED_CODE}


def test_the_buf_package_composes_with_those_of_others() -> None:
    folder = layout.GENERATED / layout.PYTHON / "buf"

    assert list(folder.rglob("__init__.py")) == []


def test_a_contract_that_does_not_compile_says_where(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.proto").write_text('syntax = "proto3";\npackage mlops.broken.v1;\nmessage A { Missing field = 1; }\n')

    with pytest.raises(compiler.CompileError):
        compiler.compile_image(with_comments=False, proto_root=tmp_path)

    assert 'broken.proto:3:13: "Missing" is not defined' in capfd.readouterr().err
