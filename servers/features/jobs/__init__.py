"""Training sets and materialisations: work that takes a while."""
