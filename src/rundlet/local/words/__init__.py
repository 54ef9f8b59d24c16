"""What podman's option texts mean (`-v`, `-p`, `--memory`, …), as values of `local.options`; pure."""
