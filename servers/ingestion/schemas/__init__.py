"""Schemas of datasets: their history, changes of columns, and what a change would break."""
