"""The streaming server's certificate and key, read again when a file has changed."""

import logging
import os
import ssl

from rundlet.errors import InvalidArgument

log = logging.getLogger(__name__)


class TlsContext:
    """For one thread."""

    def __init__(self, cert: str, key: str) -> None:
        """Paths of PEM files; raises InvalidArgument when they cannot be used."""
        self._paths = (cert, key)
        self._context = self._load()
        self._seen = self._look()

    def get(self) -> ssl.SSLContext:
        """The context for the next connection; files that cannot be used (half written) leave the old one."""
        try:
            found = self._look()
            if found != self._seen:
                self._context, self._seen = self._load(), found
        except InvalidArgument as error:
            log.warning("%s; the old certificate goes on", error)
        return self._context

    def _look(self) -> tuple[tuple[int, int], ...]:
        try:
            return tuple((status.st_mtime_ns, status.st_ino) for status in map(os.stat, self._paths))
        except OSError as error:
            raise self._failure(error) from error

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(*self._paths)
        except OSError as error:  # SSLError is one
            raise self._failure(error) from error
        return context

    def _failure(self, error: OSError) -> InvalidArgument:
        return InvalidArgument(
            f"streaming TLS: cannot use {' and '.join(self._paths)}: {error.strerror or error}"
        )
