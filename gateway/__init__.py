"""The gateway: Envoy, configured from the contracts, and the control plane that changes its configuration while traffic flows."""
