"""The trigger as the triggerer has it: made anew from what was kept of it, run, stopped, and run elsewhere."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import mlmesh
import pytest
from airflow.sdk.module_loading import import_string
from airflow.triggers.base import BaseTrigger
from deployment import PATIENCE_S
from given import API_KEY
from held_data import HeldData
from mlmesh_airflow import IngestionTrigger


def made_anew(trigger: BaseTrigger) -> BaseTrigger:
    path, arguments = json.loads(json.dumps(trigger.serialize()))
    again: BaseTrigger = import_string(path)(**arguments)
    return again


async def fired(trigger: BaseTrigger) -> dict[str, Any]:
    payload: dict[str, Any] = (await anext(trigger.run())).payload
    return payload


def test_what_is_kept_of_it_names_the_connection_and_has_no_key() -> None:
    trigger = IngestionTrigger(ingestion_id="an-id", mlmesh_conn_id="mlmesh_default", project="flights", longest_pause_s=2, is_owner=True)

    path, kept = trigger.serialize()

    assert path == "mlmesh_airflow.ingestion_trigger.IngestionTrigger"
    assert kept == {
        "ingestion_id": "an-id",
        "mlmesh_conn_id": "mlmesh_default",
        "project": "flights",
        "longest_pause_s": 2,
        "is_owner": True,
    }
    assert API_KEY not in repr(trigger)
    assert made_anew(trigger).serialize() == (path, kept)


def test_one_that_is_stopped_cancels_nothing_and_another_goes_on(mesh: mlmesh.Mesh, dataset: str, held: HeldData) -> None:
    ingestion = mesh.ingestion.ingest_data(dataset, [{"id": 1}], wait=False)
    trigger = IngestionTrigger(ingestion_id=ingestion.id, longest_pause_s=0.1, is_owner=True)

    async def stop_and_go_on() -> dict[str, Any]:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fired(trigger), 1.0)
        await trigger.cleanup()
        held.let_go()
        return await fired(made_anew(trigger))

    assert asyncio.run(stop_and_go_on())["outcome"]["state"] == "succeeded"


def test_a_kill_cancels_the_tasks_own_ingestion(mesh: mlmesh.Mesh, dataset: str, held: HeldData) -> None:
    ingestion = mesh.ingestion.ingest_data(dataset, [{"id": 1}], wait=False)

    asyncio.run(IngestionTrigger(ingestion_id=ingestion.id, is_owner=True).on_kill())

    with pytest.raises(mlmesh.errors.IngestionFailed, match="was cancelled"):
        mesh.ingestion.wait_for_ingestion(ingestion.id, timeout_s=PATIENCE_S)


def test_a_kill_leaves_the_ingestion_of_others_alone(mesh: mlmesh.Mesh, dataset: str, held: HeldData) -> None:
    ingestion = mesh.ingestion.ingest_data(dataset, [{"id": 1}], wait=False)

    asyncio.run(IngestionTrigger(ingestion_id=ingestion.id).on_kill())

    held.let_go()
    assert mesh.ingestion.wait_for_ingestion(ingestion.id, timeout_s=PATIENCE_S).is_successful


def test_many_wait_at_once(mesh: mlmesh.Mesh, dataset: str) -> None:
    ingestions = [mesh.ingestion.ingest_data(dataset, [{"id": number}], wait=False) for number in range(20)]

    async def all_fired() -> list[dict[str, Any]]:
        return await asyncio.gather(*(fired(IngestionTrigger(ingestion_id=one.id, longest_pause_s=0.5)) for one in ingestions))

    outcomes = [event["outcome"] for event in asyncio.run(all_fired())]
    assert [outcome["ingestion_id"] for outcome in outcomes] == [one.id for one in ingestions]
    assert {outcome["state"] for outcome in outcomes} == {"succeeded"}


def test_a_person_who_ends_the_task_in_the_midst_of_a_look_is_told_from_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cancelled_while_it_looks() -> tuple[Any, ...]:
        is_looking = asyncio.Event()

        async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            is_looking.set()
            await reader.read()
            writer.close()

        async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            silent = {"conn_type": "mlmesh", "host": "127.0.0.1", "port": port, "schema": "http", "password": "mlm_nothing"}
            monkeypatch.setenv("AIRFLOW_CONN_SILENT", json.dumps(silent))
            looking = asyncio.create_task(fired(IngestionTrigger(ingestion_id="an-id", mlmesh_conn_id="silent")))
            await is_looking.wait()
            # By this message Airflow knows whether the trigger's `on_kill` is to be called.
            looking.cancel("by a person")
            with pytest.raises(asyncio.CancelledError) as raised:
                await looking
            return raised.value.args

    assert asyncio.run(asyncio.wait_for(cancelled_while_it_looks(), PATIENCE_S)) == ("by a person",)


def test_a_mesh_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    away = {"conn_type": "mlmesh", "host": "127.0.0.1", "port": 1, "schema": "http", "password": "mlm_nothing", "extra": {"timeout_s": 0.2}}
    monkeypatch.setenv("AIRFLOW_CONN_AWAY", json.dumps(away))

    async def tells_of_it_and_waits() -> None:
        waiting = asyncio.create_task(fired(IngestionTrigger(ingestion_id="an-id", mlmesh_conn_id="away", longest_pause_s=0.1)))
        printed = ""
        while printed.count("does not tell of ingestion an-id") < 2:
            await asyncio.sleep(0.1)
            printed += "".join(capfd.readouterr())
            assert not waiting.done()
        waiting.cancel()

    asyncio.run(asyncio.wait_for(tells_of_it_and_waits(), PATIENCE_S))
