"""Figures that rundlet is judged by, each beside another implementation in the same run."""
