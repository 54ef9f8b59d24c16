"""Pod networking: CNI configuration, chains, cache and the built-in plugins."""
