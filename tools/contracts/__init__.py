"""The contract toolchain: everything between `proto/` and `gen/`, and the rules the contracts keep."""
