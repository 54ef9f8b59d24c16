"""A command line that starts at once: a warm process lends itself to the next commands, then leaves."""
