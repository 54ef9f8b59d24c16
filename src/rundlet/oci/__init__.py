"""`rundlet-runtime`: an OCI runtime with the command line of runc."""
