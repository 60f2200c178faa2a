"""Filters, orderings and page tokens of every list, after AIP-160, for SQL and for memory.

```python
schema = Schema({
    "state": Field("enum", models.c.state, values={"READY": "READY", "FAILED": "FAILED"}),
    "tags": Field("map", entries=side_table(tags, tags.c.model_id == models.c.id)),
    "create_time": Field("timestamp", models.c.create_time),
})
where = to_sql(parse('state = "READY" AND tags.team = "a"'), schema)
order = parse_order_by("create_time desc", {"create_time", "name"})
```

Fields: ``=  !=  <  <=  >  >=``, ``:`` (a string holds, a map has the key), ``field:*`` (is there), ``name = "pre*"`` and ``"*post"``,
``NOT`` or ``-``, ``AND``, ``OR`` (which binds tighter than AND, as the AIP has it), parentheses.
"""

from aip_filter.errors import FilterError, OrderByError, PageTokenError, QueryError
from aip_filter.paging import Order, decode_page_token, encode_page_token, keyset_after, order_columns, page_in_memory, parse_order_by
from aip_filter.predicate import Predicate, to_predicate
from aip_filter.schema import Field, Schema, side_table
from aip_filter.sql import to_sql
from aip_filter.syntax import Expression, parse

__all__ = [
    "Expression",
    "Field",
    "FilterError",
    "Order",
    "OrderByError",
    "PageTokenError",
    "Predicate",
    "QueryError",
    "Schema",
    "decode_page_token",
    "encode_page_token",
    "keyset_after",
    "order_columns",
    "page_in_memory",
    "parse",
    "parse_order_by",
    "side_table",
    "to_predicate",
    "to_sql",
]
