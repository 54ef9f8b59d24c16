"""The ImageService."""

import base64
from collections.abc import Iterator

from grpc import ServicerContext as Context

from rundlet.cri.batch import batches
from rundlet.cri.insight import why_info
from rundlet.cri.messages import filesystem_message, image_message
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.proto import api_pb2_grpc
from rundlet.engine.engine import Engine
from rundlet.errors import InvalidArgument, PermissionDenied, Unavailable
from rundlet.registry.client import Credentials
from rundlet.spec.json import encode
from rundlet.store.images import ImageRecord
from rundlet.trust.check import PolicyRefusal

# cri-api's pkg/errors: the kubelet knows these failures by the beginning of the message.
REGISTRY_UNAVAILABLE = "RegistryUnavailable"
SIGNATURE_VALIDATION_FAILED = "SignatureValidationFailed"


def credentials_from(auth: api.AuthConfig) -> Credentials:
    """`auth` is base64 of "user:password" and is used only without a username.

    Raises InvalidArgument without repeating the secret.
    """
    if auth.auth and not auth.username:
        try:
            username, _, password = base64.b64decode(auth.auth, validate=True).decode().partition(":")
        except ValueError as error:
            raise InvalidArgument("auth.auth: not base64 of user:password") from error
        return Credentials(username, password.rstrip("\0"))
    return Credentials(auth.username, auth.password, auth.identity_token, auth.registry_token)


def _image_info(image: ImageRecord) -> dict[str, str]:
    facts = {"imageSpec": image.config, "manifestDigest": image.manifest_digest}
    return {"info": encode(facts).decode()}


class ImageService(api_pb2_grpc.ImageServiceServicer):
    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def _list_images(self, filter: api.ImageFilter) -> list[api.Image]:
        return [self._describe(image) for image in self.engine.images.list(filter.image.image)]

    def _describe(self, image: ImageRecord) -> api.Image:
        return image_message(image, self.engine.images.annotations(image))

    def ListImages(self, request: api.ListImagesRequest, _: Context) -> api.ListImagesResponse:
        return api.ListImagesResponse(images=self._list_images(request.filter))

    def StreamImages(
        self, request: api.StreamImagesRequest, _: Context
    ) -> Iterator[api.StreamImagesResponse]:
        for batch in batches(self._list_images(request.filter)):
            yield api.StreamImagesResponse(images=batch)

    def ImageStatus(self, request: api.ImageStatusRequest, _: Context) -> api.ImageStatusResponse:
        """An absent image is an answer without image, not an error."""
        image = self.engine.images.status(request.image.image)
        if image is None:
            return api.ImageStatusResponse()
        info = _image_info(image) | why_info(self.engine.insight, image.id) if request.verbose else {}
        return api.ImageStatusResponse(image=self._describe(image), info=info)

    def PullImage(self, request: api.PullImageRequest, context: Context) -> api.PullImageResponse:
        """image_ref equals Image.id and Container.image_id, as CRI demands since 1.36."""
        reference = request.image.image
        credentials = credentials_from(request.auth) if request.HasField("auth") else None
        try:
            image = self.engine.images.pull(
                reference,
                credentials,
                deadline_s=context.time_remaining(),
                namespace=request.sandbox_config.metadata.namespace,
            )
        except PolicyRefusal as error:
            raise PermissionDenied(
                f"{SIGNATURE_VALIDATION_FAILED}: {error.message}", hint=error.hint
            ) from error
        except Unavailable as error:
            raise Unavailable(f"{REGISTRY_UNAVAILABLE}: {error.message}", hint=error.hint) from error
        return api.PullImageResponse(image_ref=image.id)

    def RemoveImage(self, request: api.RemoveImageRequest, _: Context) -> api.RemoveImageResponse:
        self.engine.images.remove(request.image.image)
        return api.RemoveImageResponse()

    def ImageFsInfo(self, _request: api.ImageFsInfoRequest, _: Context) -> api.ImageFsInfoResponse:
        images = self.engine.images
        return api.ImageFsInfoResponse(
            image_filesystems=map(filesystem_message, images.fs_info()),
            container_filesystems=map(filesystem_message, images.container_fs_info()),
        )
