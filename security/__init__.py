"""Who may do what, how it is sealed, and where it is recorded."""
