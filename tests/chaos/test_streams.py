"""What a stream sends is in the dataset once, whatever dies in between: the server, or the process that works with the data."""

from __future__ import annotations

import random
import threading

from mlmesh.errors import MeshError
from mlmesh.row_batches import Acknowledgement

from tests.chaos.victims import kill as kill_process
from tests.chaos.victims import kill_server, workers_of
from tests.integration.runtime.waiting import eventually
from tests.whole_mesh import WholeMesh

BATCHES = 300
ROWS = 20
KILLS = 6
PATIENCE_S = 120.0
DATASET = "streamed"


def test_every_row_is_in_the_dataset_once_and_acknowledged_in_order(mesh: WholeMesh) -> None:
    acknowledged: list[Acknowledgement] = []
    failures: list[MeshError] = []
    chance = random.Random(51)
    all_killed = threading.Event()

    def rows(batch: int) -> list[dict[str, int]]:
        return [{"batch": batch, "row": row} for row in range(ROWS)]

    def send() -> None:
        try:
            with (
                mesh.client() as client,
                client.streams.write_rows(DATASET, producer="p", on_acknowledged=acknowledged.append, timeout_s=PATIENCE_S) as stream,
            ):
                assert stream.position == 0
                for batch in range(1, BATCHES + 1):
                    # Some are left for after the last kill.
                    if batch > BATCHES - 20:
                        all_killed.wait(PATIENCE_S)
                    assert stream.send(rows(batch)) == batch
        except MeshError as error:
            failures.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    for kill in range(KILLS):
        goal = len(acknowledged) + chance.randint(1, 30)
        eventually(lambda goal=goal: failures or len(acknowledged) >= min(goal, BATCHES - 20 - KILLS + kill), PATIENCE_S)  # noqa: B023
        workers = workers_of(mesh, "data_process")
        if kill % 2 or not workers:
            # What it had acknowledged may arrive after its death, so that the next kill may come at once.
            kill_server(mesh, PATIENCE_S)
        else:
            kill_process(chance.choice(workers))
    all_killed.set()
    sender.join()

    assert failures == []
    assert [one.sequence for one in acknowledged] == list(range(1, BATCHES + 1))
    assert all(one.rows_written == ROWS or one.was_written_before for one in acknowledged)
    with mesh.client() as client:
        dataset = client.ingestion.get_dataset(DATASET)
        assert dataset.row_count == BATCHES * ROWS
        assert dataset.version >= acknowledged[-1].version
        found = [
            (row["batch"], row["row"])
            for start in range(0, dataset.row_count, 1000)
            for row in client.ingestion.preview_dataset(DATASET, version=dataset.version, limit=1000, skip_rows=start).rows
        ]
        assert len(found) == BATCHES * ROWS
        assert set(found) == {(batch, row) for batch in range(1, BATCHES + 1) for row in range(ROWS)}
        with client.streams.write_rows(DATASET, producer="p") as again:
            assert again.position == BATCHES
