"""Files that are larger than a request: sent in pieces, resumed where they broke off, ingested once they are whole (ADR 56)."""
