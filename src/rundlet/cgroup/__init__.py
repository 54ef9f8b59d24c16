"""Control groups: where they are, making, joining, reading and removing them."""
