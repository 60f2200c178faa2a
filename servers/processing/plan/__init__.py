"""What a job computes, whatever runs it.

A plan is a graph of named steps over Arrow inputs (`nodes.py`, `steps.py`), built by hand, read from JSON (`plan_json.py`) or from a SELECT
(`sql.py`). `bind` checks it against the inputs' schemas and says the type of every column before anything runs.

The same plan over the same rows gives the same rows on every engine and every day. So functions that look at a clock, a seed or a session
are refused, ties are broken by all columns, and aggregates that depend on the order of rows need one. Two things are left to the engine:
the order of rows where no `Top` gives one, and the last digits of floating-point sums.

DuckDB itself parses every text of a plan, so that what is checked is what is run.
"""
