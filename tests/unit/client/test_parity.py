"""Nothing of the contracts is missing from the client, in either form."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlmesh.aio.data_uploads import UploadsClient as AsyncUploads
from mlmesh.aio.features import FeaturesClient as AsyncFeatures
from mlmesh.aio.ingestion import IngestionClient as AsyncIngestion
from mlmesh.aio.pipelines import PipelinesClient as AsyncPipelines
from mlmesh.aio.processing import ProcessingClient as AsyncProcessing
from mlmesh.aio.profiles import ProfilesClient as AsyncProfiles
from mlmesh.aio.quarantine import QuarantineClient as AsyncQuarantine
from mlmesh.aio.registry import RegistryClient as AsyncRegistry
from mlmesh.aio.schemas import SchemasClient as AsyncSchemas
from mlmesh.aio.serving import ServingClient as AsyncServing
from mlmesh.aio.streams import StreamsClient as AsyncStreams
from mlmesh.aio.subscriptions import SubscriptionsClient as AsyncSubscriptions
from mlmesh.aio.system import SystemClient as AsyncSystem
from mlmesh.aio.users import UsersClient as AsyncUsers
from mlmesh.policies import SERVICES, services
from mlmesh.sync.data_uploads import UploadsClient
from mlmesh.sync.features import FeaturesClient
from mlmesh.sync.ingestion import IngestionClient
from mlmesh.sync.pipelines import PipelinesClient
from mlmesh.sync.processing import ProcessingClient
from mlmesh.sync.profiles import ProfilesClient
from mlmesh.sync.quarantine import QuarantineClient
from mlmesh.sync.registry import RegistryClient
from mlmesh.sync.schemas import SchemasClient
from mlmesh.sync.serving import ServingClient
from mlmesh.sync.streams import StreamsClient
from mlmesh.sync.subscriptions import SubscriptionsClient
from mlmesh.sync.system import SystemClient
from mlmesh.sync.users import UsersClient

REPOSITORY = Path(__file__).parents[3]
SYNC: dict[str, type[Any]] = {
    "users": UsersClient,
    "registry": RegistryClient,
    "serving": ServingClient,
    "ingestion": IngestionClient,
    "streams": StreamsClient,
    "subscriptions": SubscriptionsClient,
    "profiles": ProfilesClient,
    "quarantine": QuarantineClient,
    "schemas": SchemasClient,
    "uploads": UploadsClient,
    "processing": ProcessingClient,
    "pipelines": PipelinesClient,
    **dict.fromkeys(("features", "feature_serving", "feature_jobs"), FeaturesClient),
    "system": SystemClient,
}
ASYNC: dict[str, type[Any]] = {
    "users": AsyncUsers,
    "registry": AsyncRegistry,
    "serving": AsyncServing,
    "ingestion": AsyncIngestion,
    "streams": AsyncStreams,
    "subscriptions": AsyncSubscriptions,
    "profiles": AsyncProfiles,
    "quarantine": AsyncQuarantine,
    "schemas": AsyncSchemas,
    "uploads": AsyncUploads,
    "processing": AsyncProcessing,
    "pipelines": AsyncPipelines,
    **dict.fromkeys(("features", "feature_serving", "feature_jobs"), AsyncFeatures),
    "system": AsyncSystem,
}
METHODS = [(name, method.name) for name, service in zip(SERVICES, services(), strict=True) for method in service.methods]


def snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def public(kind: type[Any]) -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers(kind, callable) if not name.startswith("_")}


@pytest.mark.parametrize(("component", "method"), METHODS)
def test_every_method_of_the_contract_has_a_method_of_the_client(component: str, method: str) -> None:
    assert callable(getattr(SYNC[component], snake_case(method), None))


@pytest.mark.parametrize("component", SYNC)
def test_every_method_is_documented_and_says_what_each_argument_is(component: str) -> None:
    for name, function in public(SYNC[component]).items():
        documented = inspect.getdoc(function) or ""
        parameters = set(inspect.signature(function).parameters) - {"self"}
        missing = {parameter for parameter in parameters if f"{parameter}: " not in documented}
        assert documented, name
        assert not missing, f"{name} does not say what {missing} is"


@pytest.mark.parametrize("component", SYNC)
def test_sync_and_async_have_the_same_surface(component: str) -> None:
    sync, asynchronous = public(SYNC[component]), public(ASYNC[component])
    assert sync.keys() == asynchronous.keys()
    for name, function in sync.items():
        assert list(inspect.signature(function).parameters) == list(inspect.signature(asynchronous[name]).parameters), name


@pytest.mark.parametrize("component", SYNC)
def test_every_call_takes_a_deadline(component: str) -> None:
    whole_transfers = {
        "save_model",
        "load_model",
        "push_version",
        "pull_version",
        "upload_file",
        "download_file",
        "upload_described",
        "read_blob",
        "upload_data",
    }
    for name, function in public(SYNC[component]).items():
        if component not in ("registry", "uploads") or name not in whole_transfers:
            assert "timeout_s" in inspect.signature(function).parameters, name


def test_the_client_for_threads_is_what_the_generator_makes() -> None:
    made = subprocess.run(
        [sys.executable, "clients/python/make_sync.py", "--check"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
