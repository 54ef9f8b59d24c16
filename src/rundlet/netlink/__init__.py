"""Typed rtnetlink and nftables codec and client."""
