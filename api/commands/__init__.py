"""The groups of the `lookalike` command, one file each; they import what is heavy only when they run."""
