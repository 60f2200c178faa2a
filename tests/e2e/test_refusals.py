"""Who is refused, and how: one JSON shape over REST, rich details over gRPC."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.rpc import error_details_pb2
from mlops.common.v1 import tensor_pb2
from mlops.registry.v1 import model_pb2, registry_service_pb2, registry_service_pb2_grpc
from mlops.serving.v1 import served_model_pb2, serving_service_pb2, serving_service_pb2_grpc

from servers.users.composition import open_domain
from servers.users.settings import UsersSettings
from tests.integration.runtime.rich_errors import refused
from tests.whole_mesh import Iris, WholeMesh


class Forger:
    """Makes tokens that are wrong in one thing, with the mesh's own key where that is the point."""

    def __init__(self, mesh: WholeMesh) -> None:
        domain = open_domain(UsersSettings(data_dir=mesh.data_dir))
        self._signer = domain.signing_keys.signer()
        domain.engine.dispose()
        self._claims: dict[str, Any] = jwt.decode(mesh.token, options={"verify_signature": False})

    def signed(self, **changes: Any) -> str:
        return jwt.encode(self._claims | changes, self._signer.private_key, "RS256", {"kid": self._signer.key_id})

    def unsigned(self) -> str:
        return jwt.encode(self._claims, None, "none", {"kid": self._signer.key_id})

    def signed_with_public_key(self) -> str:
        # By hand, since PyJWT refuses to make what a confused verifier would take.
        public = self._signer.private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        header = {"alg": "HS256", "typ": "JWT", "kid": self._signer.key_id}
        signed = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, self._claims))
        return (signed + b"." + urlsafe_b64encode(hmac.digest(public, signed, "sha256")).rstrip(b"=")).decode()

    def signed_by_another(self) -> str:
        return jwt.encode(self._claims, rsa.generate_private_key(65537, 2048), "RS256", {"kid": self._signer.key_id})


@pytest.fixture(scope="module")
def forged(mesh: WholeMesh) -> dict[str, str]:
    forger = Forger(mesh)
    return {
        "audience": forger.signed(aud="somebody-else"),
        "issuer": forger.signed(iss="somebody-else"),
        "expired": forger.signed(iat=int(time.time()) - 7200, exp=int(time.time()) - 3600),
        "none": forger.unsigned(),
        "hs256": forger.signed_with_public_key(),
        "other key": forger.signed_by_another(),
        "garbage": "not.a.token",
    }


@pytest.fixture(scope="module")
def powerless(mesh: WholeMesh) -> Iterator[str]:
    """The token of a user without any role."""
    with mesh.client() as admin:
        admin.users.create_user("nobody-special", password="a long enough password")
        yield admin.users.login("nobody-special", "a long enough password").access_token


@pytest.fixture(scope="module")
def registry(mesh: WholeMesh) -> Iterator[registry_service_pb2_grpc.ModelRegistryServiceStub]:
    with mesh.channel() as channel:
        yield registry_service_pb2_grpc.ModelRegistryServiceStub(channel)


def body_of(response: Any) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert set(body) == {"code", "message", "details"}
    assert isinstance(body["code"], int)
    assert body["message"]
    infos = [detail for detail in body["details"] if detail["@type"].endswith("/google.rpc.ErrorInfo")]
    assert len(infos) == 1
    assert infos[0]["domain"] == "mlmesh"
    assert infos[0]["reason"]
    return body


def test_a_call_without_a_token_is_401_with_a_reason(mesh: WholeMesh) -> None:
    response = mesh.request("GET", "/api/v1/models", token=None)
    assert response.status_code == 401
    assert body_of(response)["code"] == grpc.StatusCode.UNAUTHENTICATED.value[0]


@pytest.mark.parametrize("kind", ["audience", "issuer", "expired", "none", "hs256", "other key", "garbage"])
def test_a_forged_token_is_401_over_rest_and_unauthenticated_over_grpc(
    mesh: WholeMesh, forged: dict[str, str], registry: Any, kind: str
) -> None:
    response = mesh.request("GET", "/api/v1/models", token=forged[kind])
    assert response.status_code == 401, response.text
    assert body_of(response)["code"] == grpc.StatusCode.UNAUTHENTICATED.value[0]
    refusal = refused(lambda: registry.ListModels(registry_service_pb2.ListModelsRequest(), metadata=mesh.bearer(forged[kind])))
    assert refusal.code is grpc.StatusCode.UNAUTHENTICATED
    assert refusal.reason.startswith("TOKEN_")


def test_a_caller_without_the_permission_is_403_naming_it(mesh: WholeMesh, powerless: str, registry: Any) -> None:
    response = mesh.request("GET", "/api/v1/models", token=powerless)
    assert response.status_code == 403
    assert "registry.models.read" in body_of(response)["message"]
    refusal = refused(lambda: registry.ListModels(registry_service_pb2.ListModelsRequest(), metadata=mesh.bearer(powerless)))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    assert refusal.the(error_details_pb2.ErrorInfo).metadata["permission"] == "registry.models.read"


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/v1/models/absent"), ("POST", "/api/v1/models/absent/predict")])
def test_an_unknown_model_is_404(mesh: WholeMesh, method: str, path: str) -> None:
    response = mesh.request(method, path, **({"json": {"instances": [[1.0]]}} if method == "POST" else {}))
    assert response.status_code == 404
    assert "absent" in body_of(response)["message"]


def test_an_unknown_model_over_grpc_names_the_resource(mesh: WholeMesh, registry: Any) -> None:
    refusal = refused(lambda: registry.GetModel(registry_service_pb2.GetModelRequest(name="absent"), metadata=mesh.bearer()))
    assert refusal.code is grpc.StatusCode.NOT_FOUND
    assert refusal.the(error_details_pb2.ResourceInfo).resource_name == "default/absent"


def test_a_bad_tensor_is_400_naming_the_field(mesh: WholeMesh, iris: Iris) -> None:
    response = mesh.request("POST", f"/api/v1/models/{iris.name}/predict", json={"instances": [[1.0, 2.0, "three", 4.0]]})
    assert response.status_code == 400
    body = body_of(response)
    (bad,) = [detail for detail in body["details"] if detail["@type"].endswith("/google.rpc.BadRequest")]
    assert bad["field_violations"][0]["field"] == "instances[0][2]"
    assert "FP32" in body["message"]


def test_a_bad_tensor_over_grpc_says_what_was_expected_and_what_came(mesh: WholeMesh, iris: Iris) -> None:
    tensor = tensor_pb2.Tensor(name="input", datatype=tensor_pb2.DATA_TYPE_FP32, shape=[1, 3], raw=bytes(12))
    request = serving_service_pb2.PredictRequest(model=served_model_pb2.ModelSelector(name=iris.name), inputs=[tensor])
    with mesh.channel() as channel:
        stub = serving_service_pb2_grpc.ModelServingServiceStub(channel)
        refusal = refused(lambda: stub.Predict(request, metadata=mesh.bearer()))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    (field, description), *_ = refusal.fields.items()
    assert field == "inputs[0].shape"
    assert "[-1, 4]" in description
    assert "[1, 3]" in description


def test_a_name_that_breaks_a_rule_is_400_naming_the_field(mesh: WholeMesh, registry: Any) -> None:
    response = mesh.request("POST", "/api/v1/models", json={"name": "no spaces"})
    assert response.status_code == 400
    assert any("model.name" in str(detail) for detail in body_of(response)["details"])
    request = registry_service_pb2.CreateModelRequest(model=model_pb2.Model(name="no spaces"))
    assert "model.name" in refused(lambda: registry.CreateModel(request, metadata=mesh.bearer())).fields


def test_a_request_that_is_too_large_is_refused_with_a_reason_over_rest_and_over_grpc(mesh: WholeMesh, registry: Any) -> None:
    model = model_pb2.Model(name="large", description="x" * (17 << 20))

    response = mesh.request("POST", "/api/v1/models", json={"name": model.name, "description": model.description})
    refusal = refused(lambda: registry.CreateModel(registry_service_pb2.CreateModelRequest(model=model), metadata=mesh.bearer()))

    assert response.status_code == 413
    assert body_of(response)["details"][0]["reason"] == "REQUEST_TOO_LARGE"
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE")


def test_a_message_of_a_stream_that_is_too_large_is_refused_before_it_is_read(mesh: WholeMesh, registry: Any) -> None:
    request = registry_service_pb2.UploadBlobRequest(upload_id="any", data=b"x" * (17 << 20))

    refusal = refused(lambda: registry.UploadBlob(iter([request]), metadata=mesh.bearer()))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE")


def test_an_unknown_path_is_404_in_the_same_shape(mesh: WholeMesh) -> None:
    response = mesh.request("GET", "/api/v1/no/such/path")
    assert response.status_code == 404
    assert body_of(response)["code"]


def test_a_revoked_key_ends_within_five_seconds_with_every_token_made_from_it(mesh: WholeMesh) -> None:
    with mesh.client() as admin:
        created = admin.users.create_api_key("short-lived")
        exchanged = admin.users.exchange_token("urn:mlmesh:params:oauth:grant-type:api-key", api_key=created.secret).access_token
        credentials = ({"X-API-Key": created.secret}, {"Authorization": f"Bearer {exchanged}"})
        for headers in credentials:
            assert mesh.request("GET", "/api/v1/models", token=None, headers=headers).status_code == 200
        admin.users.revoke_api_key(created.api_key.id)
    deadline = time.monotonic() + 5
    while any(mesh.request("GET", "/api/v1/models", token=None, headers=headers).status_code != 401 for headers in credentials):
        assert time.monotonic() < deadline, "a revoked key or its token still works"
