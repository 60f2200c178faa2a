"""Validation beside Great Expectations and a query by hand."""
