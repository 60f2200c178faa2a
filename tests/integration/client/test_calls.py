from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import mlmesh
import pytest
from mlmesh import errors
from mlmesh.saved_logins import save_login, saved_login

from tests.integration.client.small_mesh import API_KEY, PASSWORD, Scene

DOWN = grpc.StatusCode.UNAVAILABLE


def test_a_read_rides_out_a_server_that_is_away_for_a_moment(mesh: mlmesh.Mesh, scene: Scene) -> None:
    scene.failures["GetMe"] = [DOWN, DOWN]
    assert mesh.users.get_me().user.username == "ada"
    assert scene.calls["GetMe"] == 3


def test_what_is_not_idempotent_is_sent_once(mesh: mlmesh.Mesh, scene: Scene) -> None:
    scene.failures["ChangePassword"] = [DOWN]
    with pytest.raises(errors.Unavailable):
        mesh.users.change_password("old", "new and long enough")
    assert scene.calls["ChangePassword"] == 1


def test_a_creation_is_repeated_under_the_same_request_id(mesh: mlmesh.Mesh, scene: Scene) -> None:
    scene.failures["CreateModel"] = [DOWN, DOWN]
    mesh.registry.create_model("toy")
    ids = [request.request_id for request in scene.requests["CreateModel"]]
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert uuid.UUID(ids[0])


def test_two_creations_have_two_request_ids_and_a_given_one_stays(mesh: mlmesh.Mesh, scene: Scene) -> None:
    given = str(uuid.uuid4())
    mesh.registry.create_model("a")
    mesh.registry.create_model("b")
    mesh.registry.create_model("c", request_id=given)
    first, second, third = (request.request_id for request in scene.requests["CreateModel"])
    assert first != second
    assert third == given


def test_a_mistake_is_not_repeated(mesh: mlmesh.Mesh, scene: Scene) -> None:
    scene.failures["GetMe"] = [grpc.StatusCode.INTERNAL]
    with pytest.raises(errors.Internal):
        mesh.users.get_me()
    assert scene.calls["GetMe"] == 1


def test_every_call_has_a_deadline_and_a_stated_one_counts(mesh: mlmesh.Mesh, scene: Scene) -> None:
    mesh.users.get_me()
    assert 50 < scene.deadlines["GetMe"] < 61
    mesh.users.get_me(timeout_s=5)
    assert 3 < scene.deadlines["GetMe"] < 6


def test_a_call_that_takes_too_long_is_a_deadline_exceeded(mesh: mlmesh.Mesh, scene: Scene) -> None:
    scene.slow = {"GetMe"}
    with pytest.raises(errors.DeadlineExceeded, match=r"[Dd]eadline") as error:
        mesh.users.get_me(timeout_s=0.3)
    scene.hurry.set()
    assert "timeout_s" in error.value.hint


def test_a_list_is_one_iterator_over_its_pages(mesh: mlmesh.Mesh, scene: Scene) -> None:
    assert [model.name for model in mesh.registry.list_models(filter='name = "m*"')] == [f"m{number}" for number in range(7)]
    assert scene.calls["ListModels"] == 3
    assert {request.filter for request in scene.requests["ListModels"]} == {'name = "m*"'}


def test_no_more_pages_are_fetched_than_are_needed(mesh: mlmesh.Mesh, scene: Scene) -> None:
    assert [model.name for model in mesh.registry.list_models().to_list(limit=2)] == ["m0", "m1"]
    assert scene.calls["ListModels"] == 1
    assert [len(page) for page in mesh.registry.list_models().pages()] == [3, 3, 1]


def test_a_list_can_be_read_twice(mesh: mlmesh.Mesh) -> None:
    models = mesh.registry.list_models()
    assert len(models.to_list()) == len(models.to_list()) == 7


def test_an_update_names_the_fields_that_change(mesh: mlmesh.Mesh, scene: Scene) -> None:
    mesh.registry.update_model("toy", description="", tags={"a": "b"}, etag="e")
    (request,) = scene.requests["UpdateModel"]
    assert list(request.update_mask.paths) == ["description", "tags"]
    assert (request.model.etag, dict(request.model.tags)) == ("e", {"a": "b"})


def test_a_refusal_has_the_reason_of_the_server(url: str) -> None:
    with mlmesh.connect(url, token="forged") as mesh, pytest.raises(errors.Unauthenticated, match="who are you") as error:
        mesh.users.get_me()
    assert error.value.reason == "TOKEN_INVALID"
    assert "mlmesh login" in error.value.hint


def test_a_method_that_the_server_does_not_have_is_unimplemented(mesh: mlmesh.Mesh) -> None:
    with pytest.raises(errors.Unimplemented):
        mesh.registry.get_model("toy")


def test_nobody_answers_is_unavailable_with_what_to_look_at() -> None:
    with mlmesh.connect("http://127.0.0.1:1", token="t") as mesh, pytest.raises((errors.Unavailable, errors.DeadlineExceeded)) as error:
        mesh.users.get_me(timeout_s=1)
    assert error.value.hint


class TestTokens:
    def test_a_public_method_needs_no_token(self, url: str, scene: Scene) -> None:
        with mlmesh.connect(url, api_key=API_KEY) as mesh:
            assert mesh.system.get_health().version == "0.0.test"
        assert scene.calls["ExchangeToken"] == 0
        assert "authorization" not in scene.metadata["GetHealth"][0]

    def test_a_key_is_exchanged_once_for_many_calls(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: mesh.users.get_me(), range(24)))
        assert scene.calls["ExchangeToken"] == 1

    def test_a_token_is_renewed_before_it_expires(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        scene.token_lifetime_s = 0
        mesh.users.get_me()
        mesh.users.get_me()
        assert scene.calls["ExchangeToken"] == 2

    def test_a_revoked_token_is_replaced_and_the_call_repeated(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        mesh.users.get_me()
        scene.valid_tokens = {"nothing-that-was-issued"}
        mesh.users.change_password("old", "new and long enough")
        assert scene.calls["ExchangeToken"] == 2
        assert scene.calls["ChangePassword"] == 2

    def test_a_password_is_sent_once_and_then_the_refresh_token(self, url: str, scene: Scene) -> None:
        scene.token_lifetime_s = 0
        with mlmesh.connect(url, username="ada", password=PASSWORD) as mesh:
            for _ in range(3):
                mesh.users.get_me()
        assert (scene.calls["Login"], scene.calls["RefreshToken"]) == (1, 2)

    def test_a_refresh_token_that_is_refused_leads_back_to_the_password(self, url: str, scene: Scene) -> None:
        scene.token_lifetime_s = 0
        with mlmesh.connect(url, username="ada", password=PASSWORD) as mesh:
            mesh.users.get_me()
            scene.refresh_tokens.clear()
            mesh.users.get_me()
        assert scene.calls["Login"] == 2

    def test_a_wrong_password_is_refused_and_not_tried_again(self, url: str, scene: Scene) -> None:
        with mlmesh.connect(url, username="ada", password="wrong") as mesh, pytest.raises(errors.Unauthenticated) as error:
            mesh.users.get_me()
        assert error.value.reason == "CREDENTIALS_WRONG"
        assert scene.calls["Login"] == 1

    def test_a_token_that_is_good_is_used_while_no_new_one_can_be_had(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        scene.token_lifetime_s = 900
        mesh.users.get_me()
        mesh._tokens._renew_at = float("-inf")  # type: ignore[union-attr]
        scene.failures["ExchangeToken"] = [DOWN]
        mesh.users.get_me()
        assert scene.calls["GetMe"] == 2

    def test_a_saved_session_lives_on_in_its_file(self, url: str, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        scene.refresh_tokens.add("refresh-0")
        save_login(url, "refresh-0")
        for _ in range(2):
            with mlmesh.connect(url) as mesh:
                mesh.users.get_me()
        assert scene.calls["RefreshToken"] == 2
        assert saved_login(url) in scene.refresh_tokens

    def test_the_token_can_be_handed_to_other_programs(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        assert mesh.token() in scene.valid_tokens


class TestAsync:
    def test_the_same_calls_can_be_awaited(self, url: str, scene: Scene) -> None:
        async def scenario() -> None:
            async with mlmesh.connect_async(url, api_key=API_KEY) as mesh:
                scene.failures["GetMe"] = [DOWN]
                answers = await asyncio.gather(*(mesh.users.get_me() for _ in range(10)))
                assert {answer.user.username for answer in answers} == {"ada"}
                assert [model.name async for model in mesh.registry.list_models()] == [f"m{number}" for number in range(7)]
                with pytest.raises(errors.Unimplemented):
                    await mesh.registry.get_model("toy")

        asyncio.run(scenario())
        assert scene.calls["ExchangeToken"] == 1

    def test_a_revoked_token_is_replaced_there_too(self, url: str, scene: Scene) -> None:
        async def scenario() -> None:
            async with mlmesh.connect_async(url, api_key=API_KEY) as mesh:
                await mesh.users.get_me()
                scene.valid_tokens = {"nothing-that-was-issued"}
                await mesh.users.get_me()

        asyncio.run(scenario())
        assert scene.calls["ExchangeToken"] == 2

    def test_a_sync_connection_has_its_async_twin(self, mesh: mlmesh.Mesh) -> None:
        async def scenario() -> None:
            assert (await mesh.aio.users.get_me()).user.username == "ada"
            await mesh.aio.close()

        asyncio.run(scenario())
