"""`python -m benchmarks.features offline`: training sets beside a statement by hand and beside Feast, turn by turn, from the same Parquet.

Feast is that of `.venv-feast` (`make .venv-feast/.ready`), unless MLMESH_BENCH_FEAST_PYTHON names a Python that has it with DuckDB.
"""

from __future__ import annotations

import argparse

from benchmarks.features import offline


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    offline.add_arguments(kinds.add_parser("offline", help="training sets that are correct at a point in time"))
    offline.run(parser.parse_args())


if __name__ == "__main__":
    main()
