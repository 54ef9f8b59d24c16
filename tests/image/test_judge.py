"""Policies judge what a copy reads, before anything is written."""

import json
import os

import pytest

from rundlet.errors import PermissionDenied
from rundlet.image.api import CopyOptions, copy_image
from rundlet.image.place import Host

ACCEPT, REJECT = [{"type": "insecureAcceptAnything"}], [{"type": "reject"}]


@pytest.fixture
def judged(tmp_path):
    """Makes a host with a policy."""
    hosts = []

    def make(policy):
        path = tmp_path / f"policy{len(hosts)}.json"
        path.write_text(json.dumps(policy))
        hosts.append(Host(f"{tmp_path}/root", f"{tmp_path}/run", policy=str(path)))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


@pytest.fixture
def image(layout):
    return layout.publish(layout.image(), "image")


def test_what_is_rejected_is_not_written(judged, image, tmp_path):
    with pytest.raises(PermissionDenied, match="refused by the policy"):
        copy_image(judged({"default": REJECT}), image, f"dir:{tmp_path}/out")
    assert not os.path.exists(tmp_path / "out")


def test_a_directory_may_be_trusted(judged, image, tmp_path):
    policy = {"default": REJECT, "transports": {"oci": {str(tmp_path): ACCEPT}}}
    copy_image(judged(policy), image, f"dir:{tmp_path}/out")


def test_a_registry_may_be_trusted(judged, host, image, registry, tmp_path):
    copy_image(host, image, f"docker://{registry.address}/good/a:1")
    copy_image(host, image, f"docker://{registry.address}/bad/a:1")
    policy = {"default": REJECT, "transports": {"docker": {f"{registry.address}/good": ACCEPT}}}
    copy_image(judged(policy), f"docker://{registry.address}/good/a:1", f"dir:{tmp_path}/out")
    with pytest.raises(PermissionDenied):
        copy_image(judged(policy), f"docker://{registry.address}/bad/a:1", f"dir:{tmp_path}/out")


def test_every_image_of_an_index_is_judged(judged, layout, tmp_path):
    source = layout.publish(layout.index([layout.image()]), "index")
    with pytest.raises(PermissionDenied):
        copy_image(judged({"default": REJECT}), source, f"dir:{tmp_path}/out", CopyOptions(instances="all"))


@pytest.mark.parametrize("by_id", [False, True])
def test_images_of_the_store_by_name_and_id(judged, host, image, tmp_path, by_id):
    copy_image(host, image, "containers-storage:localhost/a:1")
    name = host.store.images.find("localhost/a:1").id.partition(":")[2] if by_id else "localhost/a:1"
    policy = {"default": REJECT, "transports": {"containers-storage": {"": ACCEPT}}}
    copy_image(judged(policy), f"containers-storage:{name}", f"dir:{tmp_path}/out")
    with pytest.raises(PermissionDenied):
        copy_image(judged({"default": REJECT}), f"containers-storage:{name}", f"dir:{tmp_path}/other")
