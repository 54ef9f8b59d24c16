"""The files of our registry server.

    <root>/blobs/<algorithm>/<hex>                      content, shared by all repositories
    <root>/uploads/<id>                                 content on its way in
    <root>/repositories/<path>/_blobs/<algorithm>/<hex>     empty: the blob is in the repository
    <root>/repositories/<path>/_manifests/<algorithm>/<hex> the manifest's media type
    <root>/repositories/<path>/_tags/<tag>                  the digest that it points to
    <root>/repositories/<path>/_referrers/<algorithm>/<hex>/<digest>    empty: it refers to that manifest

A path's components never start with "_", so markers and nested repositories do
not meet.  Everything appears by rename.
"""

import os
import secrets
from typing import NamedTuple

from rundlet.errors import DataLoss, NotFound
from rundlet.spec.digest import Digest, digest_hasher, parse_digest
from rundlet.spec.mediatype import DOCKER_MANIFEST_V1_SIGNED
from rundlet.spec.schema1 import signed_payload

_BLOCK_SIZE = 1 << 20


class StoredManifest(NamedTuple):
    digest: Digest
    media_type: str
    path: str


class Shelf:
    """Blobs, manifests and tags below one directory; names come checked from the server."""

    def __init__(self, root_dir: str) -> None:
        self._root_dir = root_dir
        self._uploads_dir = os.path.join(root_dir, "uploads")
        os.makedirs(self._uploads_dir, exist_ok=True)

    def _blob_path(self, digest: Digest) -> str:
        return os.path.join(self._root_dir, "blobs", *digest)

    def _marker_path(self, name: str, kind: str, *parts: str) -> str:
        return os.path.join(self._root_dir, "repositories", name, kind, *parts)

    def find_blob(self, name: str, digest: Digest) -> str:
        """The path of a blob's content; NotFound when it is not in the repository."""
        if not os.path.exists(self._marker_path(name, "_blobs", *digest)):
            raise NotFound(f"blob {digest} of {name}: not in this registry")
        return self._blob_path(digest)

    def link_blob(self, name: str, digest: Digest) -> None:
        """Make a blob that is here a part of the repository."""
        self._write(self._marker_path(name, "_blobs", *digest), b"")

    def begin_upload(self) -> str:
        """The id of a new, empty upload."""
        upload_id = secrets.token_hex(16)
        with open(os.path.join(self._uploads_dir, upload_id), "xb"):
            pass
        return upload_id

    def find_upload(self, upload_id: str) -> str:
        """The path to append to; NotFound when there is no such upload."""
        path = os.path.join(self._uploads_dir, upload_id)
        if not os.path.exists(path):
            raise NotFound(f"upload {upload_id}: unknown")
        return path

    def finish_upload(self, name: str, upload_id: str, digest: Digest) -> None:
        """Publish an upload as a blob of the repository; DataLoss when it has another digest."""
        path = self.find_upload(upload_id)
        found = _sum_file(path, digest.algorithm)
        if found != digest:
            os.unlink(path)
            raise DataLoss(f"upload {upload_id}: the content has digest {found}, not {digest}")
        target = self._blob_path(digest)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(path, target)
        self.link_blob(name, digest)

    def cancel_upload(self, upload_id: str) -> None:
        os.unlink(self.find_upload(upload_id))

    def put_manifest(self, name: str, reference: str, raw: bytes, media_type: str) -> Digest:
        """Keep a manifest under a digest, or under a tag; DataLoss when it has another digest."""
        wanted = parse_digest(reference) if ":" in reference else None
        content = signed_payload(raw) if media_type == DOCKER_MANIFEST_V1_SIGNED else raw
        digest = Digest.of(content, wanted.algorithm if wanted else "sha256")
        if wanted and digest != wanted:
            raise DataLoss(f"manifest of {name}: the content has digest {digest}, not {wanted}")
        self._write(self._blob_path(digest), raw)
        self._write(self._marker_path(name, "_manifests", *digest), media_type.encode())
        if not wanted:
            self._write(self._marker_path(name, "_tags", reference), str(digest).encode())
        return digest

    def find_manifest(self, name: str, reference: str) -> StoredManifest:
        """The manifest by tag or digest; NotFound when the repository has none."""
        try:
            if ":" not in reference:
                reference = _read(self._marker_path(name, "_tags", reference)).decode()
            digest = parse_digest(reference)
            media_type = _read(self._marker_path(name, "_manifests", *digest)).decode()
        except FileNotFoundError as error:
            raise NotFound(f"manifest {reference} of {name}: not in this registry") from error
        return StoredManifest(digest, media_type, self._blob_path(digest))

    def delete_manifest(self, name: str, reference: str) -> None:
        """Forget a tag, or a manifest with all its tags; NotFound when it is not there."""
        if ":" not in reference:
            self._unlink(self._marker_path(name, "_tags", reference), f"tag {reference} of {name}")
            return
        digest = parse_digest(reference)
        self._unlink(self._marker_path(name, "_manifests", *digest), f"manifest {reference} of {name}")
        for tag in self._list(name, "_tags"):
            path = self._marker_path(name, "_tags", tag)
            if _read(path).decode() == reference:
                os.unlink(path)

    def delete_blob(self, name: str, digest: Digest) -> None:
        """Forget that the repository has the blob; NotFound when it has not."""
        self._unlink(self._marker_path(name, "_blobs", *digest), f"blob {digest} of {name}")

    def note_referrer(self, name: str, subject: Digest, digest: Digest) -> None:
        """Remember that the manifest `digest` refers to `subject`, which need not be here."""
        self._write(self._marker_path(name, "_referrers", *subject, str(digest)), b"")

    def list_referrers(self, name: str, subject: Digest) -> list[StoredManifest]:
        """The manifests that refer to `subject` and are still here."""
        found = []
        for digest in self._list(name, "_referrers", *subject):
            try:
                found.append(self.find_manifest(name, digest))
            except NotFound:
                continue  # deleted since
        return found

    def list_tags(self, name: str) -> list[str]:
        """Tags in byte order; NotFound when there is no such repository."""
        if not os.path.isdir(self._marker_path(name, "")):
            raise NotFound(f"repository {name}: not in this registry")
        return self._list(name, "_tags")

    def _list(self, name: str, kind: str, *parts: str) -> list[str]:
        try:
            return sorted(os.listdir(self._marker_path(name, kind, *parts)))
        except FileNotFoundError:
            return []

    def _unlink(self, path: str, what: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError as error:
            raise NotFound(f"{what}: not in this registry") from error

    def _write(self, path: str, data: bytes) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        draft = os.path.join(self._uploads_dir, f"draft-{secrets.token_hex(16)}")
        with open(draft, "xb") as file:
            file.write(data)
        os.replace(draft, path)


def read_stored(stored: StoredManifest) -> bytes:
    return _read(stored.path)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _sum_file(path: str, algorithm: str) -> Digest:
    hasher = digest_hasher(algorithm)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_SIZE):
            hasher.update(block)
    return Digest(algorithm, hasher.hexdigest())
