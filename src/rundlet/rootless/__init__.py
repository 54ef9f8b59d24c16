"""rundlet as an ordinary user: the namespaces of one user's processes, and what the host lets that user do."""
