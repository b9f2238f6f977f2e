"""Signs bundles with a key in AWS KMS. The key cannot be copied, and KMS logs each use.

The key is asymmetric, for signatures (ECC_NIST_P256, SIGN_VERIFY). Its signatures are verified like those of a key
file, with the public key that `slipway public-key` prints.
"""

from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing._signing.sign_ec_key import Signer  # has no public name; model-signing has no signer for KMS

from slipway.components.errors import BadInput
from slipway.components.platforms import kms

SCHEME = "awskms:///"
"""Prefix of the id, the ARN or the alias (`alias/NAME`) of a key."""
SPEC, USAGE, ALGORITHM = "ECC_NIST_P256", "SIGN_VERIFY", "ECDSA_SHA_256"
MESSAGE_LIMIT = 4096
"""Most bytes that KMS hashes and signs."""


class KmsSigningKey:
    """A private key in KMS, with the methods of an `ec.EllipticCurvePrivateKey` that signing needs.

    Args:
        reference: `awskms:///` and the id, the ARN or the alias of the key.

    Raises:
        BadInput: KMS cannot be used, or the key is not for ECDSA P-256 signatures.
    """

    def __init__(self, reference: str) -> None:
        if not reference.startswith(SCHEME) or reference == SCHEME:
            raise BadInput(f"the signing key {reference!r} is not {SCHEME} and the id, ARN or alias of a KMS key")
        self._key_id = reference.removeprefix(SCHEME)
        response = kms.ask("get_public_key", self._key_id)
        public = serialization.load_der_public_key(response["PublicKey"])
        usable = isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1)
        if not usable or response["KeyUsage"] != USAGE:
            raise BadInput(f"KMS key {self._key_id!r} is not one to sign bundles with; make one of {SPEC} for {USAGE}")
        assert isinstance(public, ec.EllipticCurvePublicKey)
        self._public = public

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public key."""
        return self._public

    def sign(self, data: bytes, algorithm: ec.ECDSA) -> bytes:  # noqa: ARG002  # always `ALGORITHM`
        """The signature over the SHA-256 digest of the data, in DER.

        Raises:
            BadInput: KMS cannot be used, or the data has more than `MESSAGE_LIMIT` bytes.
        """
        if len(data) > MESSAGE_LIMIT:
            raise BadInput(f"the list of files to sign has {len(data)} bytes; KMS takes {MESSAGE_LIMIT}")
        response = kms.ask("sign", self._key_id, Message=data, MessageType="RAW", SigningAlgorithm=ALGORITHM)
        signature: bytes = response["Signature"]
        return signature


class KmsSigner(Signer):
    """model-signing's signer for key files, with a key in KMS."""

    def __init__(self, key: KmsSigningKey) -> None:
        self._private_key: Any = key
