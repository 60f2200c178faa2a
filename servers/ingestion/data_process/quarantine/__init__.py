"""The quarantine of a dataset: rows that were left out of it, until they are replayed or discarded.

It is a folder of Parquet files beside the dataset's table, and its log is the table's log. Rows are laid down before the commit that leaves
them out, under a name that the commit then marks as delivered; so both happen, or neither does, whoever dies when. The same holds for rows
that a replay takes.
"""
