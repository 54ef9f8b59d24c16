"""Containers for people: names, restart policies, health, volumes and networks, over the engine and without a daemon."""
