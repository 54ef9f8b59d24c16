"""Kubernetes' YAML on this machine, without a cluster: documents → pods, containers and volumes of `local`, and back."""
