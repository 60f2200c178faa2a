"""There and back between the registry's values and its contract."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from mlmesh.registry_values import verification_value
from mlops.registry.v1 import model_pb2
from mlops.registry.v1 import registry_service_pb2 as pb

from model_management import DatasetReference, FileEntry, Lineage, Signature, Stage, TensorSpec, VersionReference, VersionState
from model_management.catalog import Verification
from model_management.signing import SignatureCheck, SignatureVerdict
from servers.registry import converters

# What no database can store is refused before it gets here.
texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"]), max_size=20)
names = st.from_regex(r"[a-z][a-z0-9._-]{0,20}", fullmatch=True)
digests = st.binary(min_size=32, max_size=32).map(lambda data: f"sha256:{data.hex()}")
specs = st.builds(
    TensorSpec, names, st.sampled_from(["FP32", "FP64", "INT64", "BOOL", "BYTES"]), st.lists(st.integers(-1, 2**40), max_size=4).map(tuple)
)


def unique(items):
    return len({item.name for item in items}) == len(items)


tuples_of_specs = st.lists(specs, min_size=1, max_size=3).filter(unique).map(tuple)
references = st.builds(VersionReference, names, st.integers(1, 2**31 - 1))
lineages = st.builds(
    Lineage,
    st.lists(st.builds(DatasetReference, names, texts, texts), max_size=3).map(tuple),
    texts,
    texts,
    texts,
    st.lists(references, max_size=3, unique=True).map(tuple),
)


@given(st.builds(Signature, tuples_of_specs, tuples_of_specs))
def test_a_signature_comes_back(signature):
    assert converters.signature_from_proto(converters.signature_to_proto(signature)) == signature


@given(lineages)
def test_a_lineage_comes_back(lineage):
    assert converters.lineage_from_proto(converters.lineage_to_proto(lineage)) == lineage


@given(st.builds(FileEntry, texts, digests, st.integers(0, 2**63 - 1)))
def test_a_file_comes_back(file):
    assert converters.file_from_proto(converters.file_to_proto(file)) == file


@given(st.sampled_from(list(Stage)))
def test_a_stage_comes_back(stage):
    assert converters.stage_from_proto(converters.stage_to_proto(stage)) is stage


paths = st.lists(texts, max_size=3).map(tuple)
checks = st.builds(SignatureCheck, st.sampled_from(SignatureVerdict), texts, texts, texts, paths, texts)


@given(st.builds(Verification, paths, checks))
def test_what_a_check_found_reaches_the_client(verification):
    assert verification_value(converters.verification_to_proto(verification)) == verification


def test_a_server_that_does_not_know_what_a_signature_is_worth_makes_it_no_trusted_one():
    older = pb.VerifyModelVersionResponse(intact=True, signed=True)
    newer = pb.VerifyModelVersionResponse(intact=True, signed=True, signature=pb.ModelSignatureCheck(verdict=99))
    assert {verification_value(answer).signature.verdict for answer in (older, newer)} == {SignatureVerdict.UNTRUSTED}
    assert verification_value(pb.VerifyModelVersionResponse(intact=True)).signature.verdict is SignatureVerdict.UNSIGNED


def test_every_verdict_on_a_signature_has_a_number_of_its_own():
    numbers = {converters.signature_check_to_proto(SignatureCheck(verdict)).verdict for verdict in SignatureVerdict}
    assert numbers == set(pb.ModelSignatureVerdict.values()) - {0}


def test_every_stage_and_state_has_a_number_of_its_own_and_unspecified_is_none():
    assert {converters.stage_to_proto(stage) for stage in Stage} == set(model_pb2.ModelStage.values()) - {0}
    assert {converters.state_to_proto(state) for state in VersionState} <= set(model_pb2.ModelVersionState.values()) - {0}
    assert converters.stage_from_proto(model_pb2.MODEL_STAGE_UNSPECIFIED) is Stage.NONE


@given(
    st.dictionaries(names, texts, max_size=3),
    st.dictionaries(names, st.floats(allow_nan=False), max_size=3),
    texts,
    st.sets(st.sampled_from(["description", "tags", "metrics", "parameters", "model_card"])),
)
def test_only_what_an_update_names_is_changed(tags, metrics, text, paths):
    message = model_pb2.ModelVersion(description=text, tags=tags, metrics=metrics, parameters=tags, model_card=text)
    changes = converters.version_changes_from_proto(message, frozenset(paths))
    wanted = {"description": text, "tags": tags, "metrics": metrics, "parameters": tags, "model_card": text}
    for field, value in wanted.items():
        assert getattr(changes, field) == (value if field in paths else None)
