"""OpenPGP signed messages, by the gpg program: opened with given keys only, and made.

A policy's keys go into a directory of their own that lives as long as the question; the user's
keyrings, agents and key servers play no part in the answer.  What gpg found is read from its
status lines (doc/DETAILS of GnuPG), never from what it tells people.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from rundlet.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, PermissionDenied
from rundlet.kernel.failure import translating

_PROGRAM: Final = "gpg"
_TIMEOUT_S: Final = 30.0
_PAYLOAD_SIZE_MAX: Final = 1 << 20
_STATUS_PREFIX: Final = "[GNUPG:] "
# One message, one signature, good, over one text: each exactly once.
_ONCE: Final = ("NEWSIG", "GOODSIG", "VALIDSIG", "PLAINTEXT")
_NEVER: Final = frozenset(
    {"BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "NODATA", "UNEXPECTED", "BEGIN_DECRYPTION"}
)
_REASONS: Final = {
    "BADSIG": "the signature is bad",
    "ERRSIG": "it is signed by a key that is not trusted here",
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": "the signing key has expired",
    "REVKEYSIG": "the signing key was revoked",
}


class OpenedMessage(NamedTuple):
    """What was signed, and by which key: fingerprints in upper-case hex, `primary` that of its main key."""

    payload: bytes
    fingerprint: str
    primary: str


class Keyring(NamedTuple):
    """A GnuPG home directory; "" is the user's own."""

    home: str = ""

    def open_message(self, message: bytes) -> OpenedMessage:
        """The payload of a message with exactly one good signature by a key of this ring.

        Raises PermissionDenied (not signed so), FailedPrecondition (no gpg), DeadlineExceeded.
        """
        # Armoured and clear-signed text is no "signed message" in the sense of RFC 4880, 11.3.
        if not message or not message[0] & 0x80:
            raise PermissionDenied("not a binary OpenPGP message")
        done = _run(self.home, ["--max-output", str(_PAYLOAD_SIZE_MAX), "--decrypt"], message)
        return _judge(done)


class _Done(NamedTuple):
    code: int
    output: bytes
    status: tuple[tuple[str, ...], ...]
    complaint: str


@contextmanager
def import_keys(keys: Sequence[bytes]) -> Iterator[Keyring]:
    """A ring of just these keys (binary or armoured); InvalidArgument when one holds no public key."""
    with _scratch_directory() as home:
        for key in keys:
            done = _run(home, ["--import"], key)
            if not any(words[0] == "IMPORT_OK" for words in done.status):
                raise InvalidArgument("no OpenPGP public key in it")
        yield Keyring(home)


@contextmanager
def _scratch_directory() -> Iterator[str]:
    with translating("make a directory for gpg"):
        path = tempfile.mkdtemp(prefix="rundlet-gpg-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sign_message(payload: bytes, key: str, passphrase: str | None = None, home: str = "") -> bytes:
    """`payload` signed by the user's `key` (a fingerprint, a mail address), as a binary message.

    Without a passphrase the user's agent may ask for one.  Raises FailedPrecondition.
    """
    words = ["--local-user", key, "--sign"]
    if passphrase is None:
        done = _run(home, words, payload, agent=True)
    else:
        with _pipe_with(passphrase) as descriptor:
            secret = ["--pinentry-mode", "loopback", "--passphrase-fd", str(descriptor)]
            done = _run(home, [*secret, *words], payload, agent=True, descriptor=descriptor)
    if done.code or not any(words[0] == "SIG_CREATED" for words in done.status):
        raise FailedPrecondition(f"cannot sign with key {key}: {done.complaint or 'gpg does not say why'}")
    return done.output


def _judge(done: _Done) -> OpenedMessage:
    keywords = [words[0] for words in done.status]
    for keyword in keywords:
        if keyword in _NEVER:
            raise PermissionDenied(_REASONS.get(keyword, "it is not a signed message"))
    if done.code or any(keywords.count(keyword) != 1 for keyword in _ONCE):
        raise PermissionDenied("it is not a message with exactly one signature")
    valid = next(words for words in done.status if words[0] == "VALIDSIG")
    return OpenedMessage(done.output, valid[1], valid[-1])


def _run(
    home: str, words: list[str], given: bytes, *, agent: bool = False, descriptor: int | None = None
) -> _Done:
    """One run of gpg; a ring of the policy's keys needs no agent, and starts none."""
    with _scratch_directory() as scratch:
        status = f"{scratch}/status"
        command = [_PROGRAM, "--batch", "--no-tty", "--status-file", status, "--output", "-"]
        command += ["--homedir", home] if home else []
        if not agent:
            command += ["--no-options", "--no-autostart", "--no-auto-key-retrieve", "--trust-model", "always"]
        try:
            done = subprocess.run(
                [*command, *words],
                input=given,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
                env={**os.environ, "LC_ALL": "C"},
                pass_fds=() if descriptor is None else (descriptor,),
            )
        except subprocess.TimeoutExpired as error:
            raise DeadlineExceeded(f"gpg did not end within {_TIMEOUT_S:g} s") from error
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise FailedPrecondition(f"gpg: {reason}", hint="signedBy needs GnuPG (package gnupg)") from error
        complaint = done.stderr.decode(errors="replace").strip().rpartition("\n")[2].removeprefix("gpg: ")
        return _Done(done.returncode, done.stdout, _read_status(status), complaint)


def _read_status(path: str) -> tuple[tuple[str, ...], ...]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return ()
    return tuple(
        tuple(line.removeprefix(_STATUS_PREFIX).split()) for line in lines if line.startswith(_STATUS_PREFIX)
    )


@contextmanager
def _pipe_with(secret: str) -> Iterator[int]:
    """The reading end of a pipe that holds `secret`."""
    reading, writing = os.pipe()
    try:
        try:
            os.write(writing, f"{secret}\n".encode())
        finally:
            os.close(writing)
        yield reading
    finally:
        os.close(reading)
