"""One figure a module, each with its FIGURE."""
