"""The Python API: containers, images and what belongs to them, as objects."""
