"""OpenAPI 3.1 out of the compiled contracts: what the gateway takes and answers over REST."""
