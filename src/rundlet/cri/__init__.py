"""The CRI daemon and client: protobuf at the wall, the engine behind."""
