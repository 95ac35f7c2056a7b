"""The edges: HTTP, terminal, and the wiring that joins the other packages."""
