"""The OCI runtime: executes container plans."""
