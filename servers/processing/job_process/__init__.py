"""What runs plans: processes of their own, which the server starts and may kill at any moment.

The server imports this package and stays small: DuckDB, pyarrow and deltalake are loaded in the processes alone. `processes` is the
server's side; a process begins in `__main__`, and what it can do is in `operations`.
"""
