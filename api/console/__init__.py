"""The web console: pages rendered here, over the same use cases as the HTTP API."""
