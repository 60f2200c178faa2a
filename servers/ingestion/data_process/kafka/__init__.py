"""Messages of Kafka as rows, and the reading of topics. Used by the operation `consume` alone."""
