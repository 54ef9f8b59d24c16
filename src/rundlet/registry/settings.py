"""What a caller chooses about registries: credentials and connection rules."""

from typing import NamedTuple

from rundlet import __version__


class Credentials(NamedTuple):
    """What opens a registry; the fields are those of CRI's AuthConfig.

    `identity_token` is an OAuth2 refresh token for the token server;
    `registry_token` is sent to the registry as it is.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        """Without the secrets: values find their way into logs."""
        return f"Credentials(username={self.username!r}, …)"


class RegistrySettings(NamedTuple):
    """`insecure_hosts` ("host", "host:port" or "*") may speak plain HTTP or TLS that does not verify.

    Loopback hosts may speak plain HTTP without being listed.  Each of `certs_dirs` may hold
    `<host[:port]>/{*.crt,*.cert,*.key}`, the first that does is used; `cert_dir` is one such
    directory for every host instead.  `retries` counts further attempts after the first, for
    answers and failures that may pass.  An answer that brings fewer than `rate_min_bytes_s` while
    it was waited for `rate_window_s` counts as broken off.
    """

    insecure_hosts: tuple[str, ...] = ()
    certs_dirs: tuple[str, ...] = ()
    cert_dir: str = ""
    user_agent: str = f"rundlet/{__version__}"
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    retries: int = 4
    rate_min_bytes_s: float = 1024.0
    rate_window_s: float = 30.0
