"""Every system of the comparison: how it is started, and how it is called."""
