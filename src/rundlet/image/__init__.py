"""Whole image jobs: pull, push, build from the host."""
