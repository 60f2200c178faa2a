"""`python -m benchmarks.features offline`: training sets beside a statement by hand and beside Feast, turn by turn, from the same Parquet.
`python -m benchmarks.features online`: the newest features, through the gateway and from Feast's gRPC server, out of the same Redis.

Feast is that of `.venv-feast` (`make .venv-feast/.ready`), unless MLMESH_BENCH_FEAST_PYTHON names a Python that has it with DuckDB.
"""

from __future__ import annotations

import argparse

from benchmarks.features import offline, online


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    offline.add_arguments(kinds.add_parser("offline", help="training sets that are correct at a point in time"))
    online.add_arguments(kinds.add_parser("online", help="the newest features of users"))
    given = parser.parse_args()
    (offline if given.kind == "offline" else online).run(given)


if __name__ == "__main__":
    main()
