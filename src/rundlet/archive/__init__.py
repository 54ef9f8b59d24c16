"""Layer archives: safe apply, deterministic pack, compression."""
