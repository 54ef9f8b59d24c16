"""Throw-away GPG keys, made once a run."""

import os
import shutil
import subprocess
from typing import NamedTuple

import pytest


class Gpg(NamedTuple):
    """A GnuPG home with keys of its own; `run` calls gpg there."""

    home: str

    def run(self, *words, given=b""):
        command = ["gpg", "--homedir", self.home, "--batch", "--yes", "--pinentry-mode", "loopback", *words]
        done = subprocess.run(command, input=given, capture_output=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def make_key(self, name, *, expires="never", passphrase="", at=""):
        """A signing key; its fingerprint.  `at` is the time that gpg believes it is."""
        clock = ["--faked-system-time", at] if at else []
        self.run(*clock, "--passphrase", passphrase, "--quick-gen-key", name, "ed25519", "sign", expires)
        listing = self.run("--with-colons", "--list-keys", name).decode()
        return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))

    def export(self, *fingerprints, armor=True):
        return self.run(*(["--armor"] if armor else []), "--export", *fingerprints)


@pytest.fixture(scope="session")
def gpg(tmp_path_factory):
    if not shutil.which("gpg"):
        pytest.skip("gpg not on this host")
    home = tmp_path_factory.mktemp("gpg", numbered=True)
    os.chmod(home, 0o700)
    (home / "gpg-agent.conf").write_text("s2k-count 65536\n")  # else the agent measures what takes long
    yield Gpg(str(home))
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, timeout=30)


@pytest.fixture(scope="session")
def signer(gpg):
    """The fingerprint of a good key."""
    return gpg.make_key("signer@example.com")
