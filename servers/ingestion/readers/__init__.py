"""Files of any tabular format, read as a stream of Arrow batches with types that a Delta table holds.

`rows.open_rows` is the way in. A module `*_rows` knows one format; what formats share is in `byte_streams`, `text_types`, `plain_types`
and `batches`. Nothing here is imported before a file of that format comes.
"""
