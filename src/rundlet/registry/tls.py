"""TLS to registries: system roots, SSL_CERT_FILE and the certs.d directories.

certs.d/<host[:port]>/       (containers-certs.d(5))
    *.crt                    further roots, PEM
    NAME.cert + NAME.key     our certificate for this host
"""

import os
import ssl
import warnings

from urllib3.exceptions import InsecureRequestWarning

from rundlet.errors import FailedPrecondition
from rundlet.registry.settings import RegistrySettings

# What OpenSSL calls it when the peer answers the handshake with something that
# is not TLS: an HTTP server's "HTTP/1.1 400".
_NOT_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)


def find_cert_dir(settings: RegistrySettings, authority: str) -> str:
    """The directory with the certificates for `authority`, "" for none."""
    usual = (os.path.join(directory, authority) for directory in settings.certs_dirs)
    return settings.cert_dir or next(filter(os.path.isdir, usual), "")


def make_tls_context(cert_dir: str, authority: str, *, verify: bool) -> ssl.SSLContext:
    """The context for connections to `authority`; FailedPrecondition for unreadable certificates.

    SSL_CERT_FILE and SSL_CERT_DIR are OpenSSL's own and replace the system's roots.
    """
    context = ssl.create_default_context()
    if not verify:
        # urllib3 warns at every such request; here the user has listed the host.
        warnings.filterwarnings("ignore", category=InsecureRequestWarning)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for name in _list_directory(cert_dir):
        path = os.path.join(cert_dir, name)
        try:
            _load(context, path)
        except (OSError, ssl.SSLError) as error:
            raise FailedPrecondition(
                f"registry {authority}: cannot use certificate {path}: {error}"
            ) from error
    return context


def _list_directory(path: str) -> list[str]:
    if not path:
        return []
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise FailedPrecondition(f"cannot read the certificates in {path}: {reason}") from error


def _load(context: ssl.SSLContext, path: str) -> None:
    stem, extension = os.path.splitext(path)
    if extension == ".crt":
        context.load_verify_locations(path)
    elif extension == ".cert":
        context.load_cert_chain(path, f"{stem}.key")


def speaks_no_tls(error: ssl.SSLError) -> bool:
    return error.reason in _NOT_TLS


def explain_tls_error(error: ssl.SSLError) -> tuple[str, str]:
    """(reason, hint) for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"its certificate does not verify: {error.verify_message}"
        return reason, "add its CA to certs.d/<host>/ca.crt or name it in SSL_CERT_FILE"
    if speaks_no_tls(error):
        return "it does not speak TLS", "list it as an insecure host to allow plain HTTP"
    return f"TLS failed: {(error.reason or str(error)).lower().replace('_', ' ')}", ""
