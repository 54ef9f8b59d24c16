"""Distribution client and a small server: flows as generators, auth, transport."""
