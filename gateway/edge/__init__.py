"""The edge app: what is HTTP and not a transcoded contract."""
