"""podman's verbs on this machine: parse → one call of `rundlet.local` → render."""
