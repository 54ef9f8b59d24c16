"""Use cases: pods, containers, images, exec, stats, recovery."""
