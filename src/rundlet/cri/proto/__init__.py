"""CRI v1 messages and services, generated; see tools/make_cri_proto.py."""
