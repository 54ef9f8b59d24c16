"""Decisions, pure: what is to be done, as values that can describe themselves."""
