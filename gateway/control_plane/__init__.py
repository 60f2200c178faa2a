"""The control plane: an ADS server that changes Envoy's configuration in an order in which no request can fail."""
