"""Public keys and what they verify: ECDSA and RSA (PKCS #1 v1.5) over SHA-256, Ed25519; as sigstore does."""

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from rundlet.errors import InvalidArgument

PublicKey = EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey


def parse_public_key(pem: bytes, what: str) -> PublicKey:
    """A PEM public key; InvalidArgument for anything else."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(f"{what}: not a PEM public key") from error
    return check_public_key(key, what)


def check_public_key(key: object, what: str) -> PublicKey:
    """`key` when it is of a kind that signs images; else InvalidArgument."""
    if isinstance(key, EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey):
        return key
    raise InvalidArgument(
        f"{what}: {type(key).__name__} is of no use here", hint="ECDSA, RSA and Ed25519 are"
    )


def verifies(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether `signature` over `message` was made with the private half of `key`."""
    try:
        if isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, message, ECDSA(SHA256()))
        elif isinstance(key, RSAPublicKey):
            key.verify(signature, message, PKCS1v15(), SHA256())
        else:
            key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def encode_public_key(key: PublicKey, *, pem: bool = True) -> bytes:
    """SubjectPublicKeyInfo, as PEM or DER."""
    return key.public_bytes(Encoding.PEM if pem else Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
