"""The keeper: a small process that starts, watches and logs containers."""
