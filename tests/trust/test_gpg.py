"""OpenPGP messages: opened only when exactly one given key has signed them well."""

import pytest

from rundlet.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from rundlet.trust import gpg as module
from rundlet.trust.gpg import import_keys, sign_message

PAYLOAD = b'{"any": "text"}'
PAST = "20200101T000000"


@pytest.fixture(scope="session")
def message(gpg, signer):
    return sign_message(PAYLOAD, signer, home=gpg.home)


def open_with(keys, message):
    with import_keys(keys) as ring:
        return ring.open_message(message)


def refuses(keys, message, reason=None):
    with pytest.raises(PermissionDenied, match=reason):
        open_with(keys, message)


def test_a_good_message(gpg, signer, message):
    for key in (gpg.export(signer), gpg.export(signer, armor=False)):
        opened = open_with([key], message)
        assert opened.payload == PAYLOAD
        assert (opened.fingerprint, opened.primary) == (signer, signer)


def test_any_of_several_keys(gpg, signer, message):
    other = gpg.export(gpg.make_key("second@example.com"))
    assert open_with([other, gpg.export(signer)], message).fingerprint == signer
    refuses([other], message, "a key that is not trusted here")


def test_the_user_s_own_ring_plays_no_part(gpg, message, monkeypatch):
    monkeypatch.setenv("GNUPGHOME", gpg.home)
    refuses([gpg.export(gpg.make_key("third@example.com"))], message, "not trusted")


def test_a_changed_message(gpg, signer):
    plain = gpg.run("--compress-algo", "none", "--local-user", signer, "--sign", given=PAYLOAD)
    keys = [gpg.export(signer)]
    assert open_with(keys, plain).payload == PAYLOAD
    refuses(keys, plain.replace(b"any", b"all"), "the signature is bad")
    refuses(keys, plain[:-20])


def test_no_flipped_bit_changes_what_comes_out(gpg, signer, message):
    """Some bits are of no account: padding, hints about the key.  The payload is the signed one, or nothing."""
    keys = [gpg.export(signer)]
    for place in range(3, len(message), 11):
        changed = message[:place] + bytes([message[place] ^ 1]) + message[place + 1 :]
        try:
            assert open_with(keys, changed).payload == PAYLOAD
        except PermissionDenied:
            pass


def test_a_signature_by_a_subkey(gpg):
    primary = gpg.make_key("with-subkey@example.com")
    gpg.run("--passphrase", "", "--quick-add-key", primary, "ed25519", "sign", "never")
    opened = open_with([gpg.export(primary)], sign_message(PAYLOAD, primary, home=gpg.home))
    assert opened.primary == primary
    assert opened.fingerprint != primary


def test_an_expired_signature_and_an_expired_key(gpg, signer):
    old = gpg.make_key("old@example.com", at=PAST)
    brief = ["--faked-system-time", PAST, "--default-sig-expire", "1d", "--local-user", old, "--sign"]
    refuses([gpg.export(old)], gpg.run(*brief, given=PAYLOAD), "the signature has expired")
    dead = gpg.make_key("dead@example.com", at=PAST, expires="1d")
    signed = gpg.run("--faked-system-time", PAST, "--local-user", dead, "--sign", given=PAYLOAD)
    refuses([gpg.export(dead)], signed, "the signing key has expired")


def test_a_revoked_key(gpg):
    fingerprint = gpg.make_key("revoked@example.com")
    signed = sign_message(PAYLOAD, fingerprint, home=gpg.home)
    with open(f"{gpg.home}/openpgp-revocs.d/{fingerprint}.rev", encoding="ascii") as file:
        gpg.run("--import", given=file.read().replace(":-----", "-----").encode())
    refuses([gpg.export(fingerprint)], signed, "revoked")


@pytest.mark.parametrize("words", [["--clear-sign"], ["--sign", "--armor"], ["--detach-sign"], ["--store"]])
def test_what_is_no_signed_message(gpg, signer, words):
    """RFC 4880, 11.3: clear-signed and armoured text, a bare signature, a bare literal."""
    raw = gpg.run("--local-user", signer, *words, given=PAYLOAD)
    refuses([gpg.export(signer)], raw, "not a|bad")


@pytest.mark.parametrize("packing", [[], ["--compress-algo", "none"]])
def test_what_stands_beside_a_message_is_never_taken_for_its_content(gpg, signer, packing):
    message = gpg.run(*packing, "--local-user", signer, "--sign", given=PAYLOAD)
    literal = gpg.run(*packing, "--store", given=b"other")
    refuses([gpg.export(signer)], literal + message)
    for raw in (message + message, message + literal, message + b"\0"):
        try:
            assert open_with([gpg.export(signer)], raw).payload == PAYLOAD
        except PermissionDenied:
            pass


def test_two_signatures_of_which_one_is_not_trusted(gpg, signer):
    other = gpg.make_key("cosigner@example.com")
    both = gpg.run("--local-user", signer, "--local-user", other, "--sign", given=PAYLOAD)
    refuses([gpg.export(signer)], both, "not trusted")
    refuses([gpg.export(signer), gpg.export(other)], both, "exactly one signature")


def test_an_encrypted_message(gpg, signer):
    raw = gpg.run("--passphrase", "secret", "--s2k-count", "65536", "--symmetric", given=PAYLOAD)
    refuses([gpg.export(signer)], raw)


def test_a_bomb_is_not_unpacked(gpg, signer):
    raw = gpg.run("--local-user", signer, "--compress-level", "9", "--sign", given=bytes(8 << 20))
    assert len(raw) < 100_000
    refuses([gpg.export(signer)], raw)


def test_a_key_file_without_a_key():
    with pytest.raises(InvalidArgument, match="no OpenPGP public key"):
        open_with([b"not a key"], b"\x90")


def test_signing_with_a_passphrase(gpg):
    fingerprint = gpg.make_key("locked@example.com", passphrase="open sesame")
    signed = sign_message(PAYLOAD, fingerprint, "open sesame", home=gpg.home)
    assert open_with([gpg.export(fingerprint)], signed).payload == PAYLOAD


def test_signing_without_the_key(gpg):
    with pytest.raises(FailedPrecondition, match="cannot sign with key nobody@example.com: .*No secret key"):
        sign_message(PAYLOAD, "nobody@example.com", home=gpg.home)


def test_a_host_without_gpg_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(module, "_PROGRAM", "gpg-that-is-not-there")
    with pytest.raises(FailedPrecondition, match="gpg: no such file") as caught:
        open_with([b"key"], b"\x90")
    assert "GnuPG" in caught.value.hint
