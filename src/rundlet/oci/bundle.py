"""A bundle's config.json as a checked value (bundle.md, config.md)."""

import os
from typing import NamedTuple, TypeVar

from rundlet.errors import InvalidArgument, NotFound
from rundlet.oci import json
from rundlet.oci.containers import Container
from rundlet.plan.container import Hooks
from rundlet.plan.lifecycle import plan_hooks, plan_state
from rundlet.spec.model import Mismatch, Model, from_json
from rundlet.spec.runtime import Linux, RuntimeConfig

M = TypeVar("M", bound=Model)

_CONFIG = "config.json"


class Bundle(NamedTuple):
    """`raw` is config.json as it was read; `rootfs` is absolute."""

    path: str
    raw: bytes
    config: RuntimeConfig
    rootfs: str

    @property
    def linux(self) -> Linux:
        return self.config.linux or Linux()


def read_model(raw: bytes, kind: type[M], what: str) -> M:
    """A document as a model; InvalidArgument names the JSON path."""
    try:
        return from_json(kind, json.read(raw, what))
    except Mismatch as error:
        raise InvalidArgument(f"{what}: {error}") from error


def read_bundle(path: str, config_file: str = "") -> Bundle:
    """The bundle at `path`, relative to the working directory.

    Raises NotFound without a config.json, InvalidArgument for one that is wrong.
    """
    path = os.path.realpath(path or ".")
    config_file = config_file or f"{path}/{_CONFIG}"
    try:
        with open(config_file, "rb") as file:
            raw = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"bundle {path}: there is no {_CONFIG}", hint="rundlet-runtime spec writes an example"
        ) from None
    config = read_config(raw)
    if config.root is None:
        raise InvalidArgument(f"{_CONFIG}: root: expected object, it is missing")
    rootfs = os.path.join(path, config.root.path)
    if not os.path.isdir(rootfs):
        raise NotFound(f"{_CONFIG}: root.path: {rootfs} is no directory")
    return Bundle(path, raw, config, rootfs)


def read_config(raw: bytes) -> RuntimeConfig:
    """A configuration of a version that this runtime knows (config.md#specification-version)."""
    config = read_model(raw, RuntimeConfig, _CONFIG)
    major = config.oci_version.partition(".")[0]
    if major != "1":
        raise InvalidArgument(
            f"{_CONFIG}: ociVersion: expected a version 1.x of the runtime specification, got {config.oci_version!r}"
        )
    return config


def read_hooks(container: Container) -> Hooks | None:
    """The hooks of a container that was created; None where its configuration has none."""
    config = read_config(container.read_config())
    return plan_hooks(config, plan_state(container.record.id, config, container.record.bundle))
