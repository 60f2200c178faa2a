"""A SELECT as a plan has the rows, names and types that DuckDB gives the same text."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from servers.processing.engines.engine import Engine
from servers.processing.engines.local import LocalEngine
from servers.processing.plan.binding import bind
from servers.processing.plan.sql import OUTPUT, plan_of_sql
from servers.runtime.errors import DomainError
from tests.integration.processing.plans import SCHEMAS, tables
from tests.integration.processing.relations import LIMITS, partitioned, results, rows_of

SELECTS = [
    "SELECT * FROM events",
    "FROM events",
    "SELECT KEY, word AS Wort, events.value FROM events WHERE value > 0.5 OR value IS NULL",
    "SELECT e.* EXCLUDE (big, flag) FROM events e WHERE NOT flag",
    "SELECT * REPLACE (key * 2 AS key) FROM facts",
    "SELECT * RENAME (score AS points) FROM facts",
    "SELECT key + 1 AS next, next * 2 AS twice FROM events WHERE next > 1",
    "SELECT key, sum(big) AS s, sum(amount), avg(value), count(*), count(DISTINCT word) FROM events GROUP BY key HAVING count(*) > 1",
    "SELECT sum(big), min(word), max(moment), count(*) FILTER (WHERE flag) FROM events",
    "SELECT s * 2, s // 2, s / 2 FROM (SELECT key, sum(key) AS s FROM events GROUP BY key)",
    "SELECT upper(word) AS w, key % 2 AS k, count(*) FROM events GROUP BY ALL",
    "SELECT key + 1, count(*) FROM events GROUP BY 1",
    "SELECT list_sort([key, 1]) AS l, sum(key) + max(key) FROM events GROUP BY l, key",
    "SELECT key AS k, k + count(*) AS n FROM events GROUP BY key",
    "SELECT e.key, f.key AS other, e.word, f.score FROM events e JOIN facts f ON e.key = f.key AND e.word = f.word",
    "SELECT e.key, f.score FROM events e LEFT JOIN facts f ON e.key = f.key AND f.score > 0.5",
    "SELECT e.key, f.key AS other FROM events e RIGHT JOIN facts f ON e.key + 1 = f.key AND e.word < f.word",
    "SELECT key, e.key AS ek, f.key AS fk, amount, score FROM events e FULL JOIN facts f USING (key)",
    "SELECT key, amount, score FROM events e RIGHT JOIN facts f USING (key)",
    "SELECT * EXCLUDE (moment) FROM events JOIN (SELECT key, score FROM facts) USING (key)",
    "SELECT word, amount FROM events NATURAL JOIN (SELECT key, score FROM facts)",
    "SELECT e.key FROM events e SEMI JOIN facts f ON e.word = f.word AND e.value < f.score",
    "SELECT key, amount FROM events ANTI JOIN facts USING (key, word)",
    "SELECT e.key, f.key AS other FROM events e JOIN facts f ON e.key < f.key",
    "SELECT e.key, f.key AS other FROM events e FULL JOIN facts f ON e.key < f.key",
    "SELECT e.key, f.score FROM events e CROSS JOIN facts f WHERE e.key = f.key",
    "SELECT e.key, f.score FROM events e, facts f WHERE e.value = f.score",
    "SELECT a.key, b.key AS other FROM events a JOIN events b ON a.moment = b.moment AND a.amount = b.value",
    "SELECT e.key, e.moment, f.moment AS fact_at FROM events e ASOF JOIN facts f ON e.key = f.key AND e.moment >= f.moment",
    "SELECT e.key, e.moment, f.moment AS fact_at FROM events e ASOF LEFT JOIN facts f ON f.moment < e.moment",
    "SELECT key, moment, f.moment AS fact_at FROM events e ASOF LEFT JOIN facts f USING (key, moment)",
    "SELECT DISTINCT key, word FROM events",
    "SELECT key FROM events UNION SELECT key FROM facts",
    "SELECT key, word FROM events UNION ALL SELECT key, word FROM facts UNION ALL SELECT 1, word FROM facts",
    "SELECT key, rank() OVER (PARTITION BY word ORDER BY value), sum(key) OVER (ORDER BY moment) FROM events",
    "SELECT key, count(*) OVER w, min(big) OVER (w RANGE BETWEEN INTERVAL 1 SECOND PRECEDING AND CURRENT ROW) FROM events WINDOW w"
    " AS (ORDER BY moment)",
    "SELECT sum(count(*)) OVER (ORDER BY key), key FROM events GROUP BY key",
    "SELECT key, dense_rank() OVER (ORDER BY key) AS place FROM events QUALIFY place <= 2",
    "SELECT key, max(value) OVER (PARTITION BY key % 2 ORDER BY key + 1) + 1 AS m FROM events",
    "SELECT DISTINCT key FROM events ORDER BY key NULLS FIRST LIMIT 2 OFFSET 1",
    "SELECT key FROM events ORDER BY key DESC",
    "SELECT big AS key, key AS big FROM events ORDER BY key, 2",
    "SELECT min(key) AS least FROM events GROUP BY word ORDER BY word DESC NULLS LAST",
    "SELECT key, word FROM events UNION SELECT key, word FROM facts ORDER BY ALL LIMIT 5",
    "WITH a AS (SELECT key, sum(amount) AS s FROM events GROUP BY key), b(k, s2) AS (SELECT key, s FROM a WHERE s > 0) "
    "SELECT a.key, s2 FROM a LEFT JOIN b ON a.key = b.k",
    "WITH a AS (SELECT * FROM events) SELECT x.key, y.word FROM a x JOIN (WITH a AS (SELECT key, word FROM facts) SELECT * FROM a)"
    " y USING (key)",
    "SELECT t.k FROM (SELECT key AS k FROM events WHERE key > 0 ORDER BY key, word LIMIT 100) t WHERE t.k < 3",
    "SELECT CASE WHEN value > 1 THEN 'high' WHEN isnan(value) THEN 'nan' ELSE 'low' END AS level, amount::DOUBLE / 3, "
    "try_cast(word AS INTEGER) FROM events",
    "SELECT moment AT TIME ZONE 'America/New_York' AS there, date_trunc('hour', moment), extract(epoch FROM moment), moment + "
    "INTERVAL 1 DAY, strftime(moment, '%F %T') FROM events",
    "SELECT {'a': key, 'b': word} AS s, s['a'] + 1 AS a1, [key, NULL] AS l, list_transform([key, 2], lambda x: x + key) AS t, "
    "map([word], [key]) FROM events "
    "WHERE word IS NOT NULL",
    "SELECT amount * 1.5, amount + key, amount > value, key = amount, big::DECIMAL(38,3) FROM events",
    "SELECT length(word), word || 'é', word LIKE '%a%', word ~ '^[a-z]', substring(word, 1, 1), word < 'b' FROM events",
    "SELECT greatest(key, big), coalesce(value, amount, 0), key IN (1, 2, NULL), key BETWEEN 1 AND 2, key IS DISTINCT FROM 1, "
    "nullif(key, 1) FROM events",
    "SELECT first(value ORDER BY moment, value, key, word, amount, big, flag) AS f, string_agg(word, '-' ORDER BY word) FROM "
    "events GROUP BY key",
    "SELECT count(*), median(amount), quantile_cont(big, 0.5), bool_and(flag), sum(DISTINCT key) FROM events",
    "SELECT - -key, 'it''s -- no comment', /* nothing */ \"key\" + 1_000 -- the end\n FROM events",
    "SELECT uuid_of, count(*) AS n FROM (SELECT md5(word)::UUID AS uuid_of FROM events) GROUP BY uuid_of",
    "SELECT key FROM events WHERE moment = (TIMESTAMPTZ '2026-03-29 03:00:00+02') OR date_part('dow', moment) = 0",
]  # fmt: skip
ORDERED = [text for text in SELECTS if "ORDER BY" in text.rsplit(")", 1)[-1]]


def duckdbs_answer(text: str, inputs: dict[str, pa.Table]) -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in inputs.items():
            connection.register(name, table)
        return connection.sql(text).to_arrow_table()


@pytest.mark.parametrize("text", SELECTS)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(inputs=tables)
def test_a_plan_answers_as_duckdb_does(text: str, inputs: dict[str, pa.Table]) -> None:
    plan = bind(plan_of_sql(text, {name: schema.names for name, schema in SCHEMAS.items()}), SCHEMAS)
    try:
        wanted = duckdbs_answer(text, inputs)
    except duckdb.Error:
        wanted = None

    if wanted is None:
        assert all(_fails(engine, plan, inputs) for engine in (LocalEngine(LIMITS), partitioned(3)))
        return
    found = results(LocalEngine(LIMITS), plan, inputs)[OUTPUT]
    cut = results(partitioned(3), plan, inputs)[OUTPUT]

    assert found.schema.names == wanted.schema.names
    assert found.schema.types == wanted.schema.types
    assert rows_of(found) == rows_of(wanted) == rows_of(cut)
    if text in ORDERED:
        assert list(rows_of(found)) == list(rows_of(wanted)) == list(rows_of(cut))


def _fails(engine: Engine, plan: object, inputs: dict[str, pa.Table]) -> bool:
    try:
        results(engine, plan, inputs)  # type: ignore[arg-type]
    except DomainError:
        return True
    return False
