"""Sandboxes: containers for code that nobody has read, with many calls each and nothing that is not needed."""
