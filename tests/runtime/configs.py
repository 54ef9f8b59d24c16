"""Configurations with one thing more than the plain one."""

from pathlib import Path

from rundlet.spec import runtime as spec
from tests.keeper.bundle import config

ROOT_ID = 200_000
MAPPINGS = [spec.IdMapping(0, ROOT_ID, 65_536)]


def with_linux(configuration: spec.RuntimeConfig, **fields: object) -> spec.RuntimeConfig:
    assert configuration.linux is not None
    return configuration.replace(linux=configuration.linux.replace(**fields))


def with_namespace(configuration: spec.RuntimeConfig, kind: str, path: str = "") -> spec.RuntimeConfig:
    """One namespace more, or another path for one that is there."""
    assert configuration.linux is not None
    others = [item for item in configuration.linux.namespaces or [] if item.type != kind]
    return with_linux(configuration, namespaces=[*others, spec.Namespace(kind, path)])


def with_mounts(configuration: spec.RuntimeConfig, *mounts: spec.Mount) -> spec.RuntimeConfig:
    return configuration.replace(mounts=[*(configuration.mounts or []), *mounts])


def in_user_namespace(*args: str, **process: object) -> spec.RuntimeConfig:
    """`args` as root of a new user namespace, with all capabilities there."""
    plain = with_namespace(config(*args, **process), "user")
    return with_linux(plain, uid_mappings=MAPPINGS, gid_mappings=MAPPINGS)


def own_tree(directory: Path, uid: int) -> None:
    """Give a rootfs to the ids of a user namespace, as engines do without idmapped mounts."""
    import os

    for path in (directory, *directory.rglob("*")):
        os.lchown(path, uid, uid)
