"""Where the walk's image comes from: a registry of its own on loopback, or the one asked for.

Without `--image` the image is made from this machine's own redis-server.  With
`--image` and a throw-away node, whose network ends at loopback, the image is
first copied into the walk's registry by the process outside the node.
"""
