"""The gate that a remote image passes before it may be published here: policy, signatures, verdict."""

import logging
import threading

from rundlet.registry.access import Registries, Remote
from rundlet.trust.check import SignedManifest, Verdict, check_image
from rundlet.trust.identity import docker_identity
from rundlet.trust.policyfile import LoadedPolicy, PolicyFiles, load_policy
from rundlet.trust.storage import SignatureStorage

log = logging.getLogger(__name__)


class Gate:
    """One policy's guard; thread-safe.  The files are read at each image, so a change counts at once."""

    def __init__(self, registries: Registries, files: PolicyFiles, registries_d: str = "") -> None:
        self._registries = registries
        self._lock = threading.Lock()
        self._said = False
        self.reload(files, registries_d)

    def reload(self, files: PolicyFiles, registries_d: str = "") -> None:
        """Go by other files from now on."""
        self._files = files
        self._signatures = SignatureStorage(self._registries, registries_d)

    def load(self, namespace: str = "") -> LoadedPolicy:
        """The policy that counts for a namespace now; errors as `load_policy`."""
        loaded = load_policy(self._files, namespace)
        if not loaded.path:
            self._say_once(f"no {' or '.join(self._files.usual)}: images are accepted without a signature")
        return loaded

    def check(
        self,
        remote: Remote,
        manifest: SignedManifest,
        *,
        namespace: str = "",
        deadline_ns: int | None = None,
    ) -> Verdict:
        """Let the image with this verified manifest in; PolicyRefusal with every reason when it may not.

        It is judged by its name, wherever its bytes come from; signatures are looked for where
        the bytes come from.
        """
        verdict = check_image(
            self.load(namespace).policy,
            docker_identity(remote.name),
            manifest,
            lambda: self._signatures.read(remote, manifest.digest, deadline_ns=deadline_ns),
        )
        log.debug("%s", "\n".join(verdict.describe()))
        return verdict

    def _say_once(self, message: str) -> None:
        with self._lock:
            said, self._said = self._said, True
        if not said:
            log.warning("%s", message)
