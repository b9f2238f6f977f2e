"""Sign with a key that stays in AWS KMS: nobody can copy it, and KMS notes each use.

The key is asymmetric, for signatures (ECC_NIST_P256, SIGN_VERIFY). The signature is that of a key file to whoever
verifies it, with the public key that `slipway public-key` prints.
"""

from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing._signing.sign_ec_key import Signer  # no public name; model-signing has no signer for KMS

from slipway.components.errors import BadInput
from slipway.components.platforms import kms

SCHEME = "awskms:///"
"""Before the id, the ARN or the alias (`alias/NAME`) of a key."""
SPEC, USAGE, ALGORITHM = "ECC_NIST_P256", "SIGN_VERIFY", "ECDSA_SHA_256"
MESSAGE_LIMIT = 4096
"""Bytes that KMS takes to hash and sign."""


class KmsSigningKey:
    """A private key in KMS, with the methods of an `ec.EllipticCurvePrivateKey` that signing needs.

    Args:
        reference: `awskms:///` and the id, the ARN or the alias of the key.

    Raises:
        BadInput: KMS cannot be used, or the key is not one to sign with.
    """

    def __init__(self, reference: str) -> None:
        if not reference.startswith(SCHEME) or reference == SCHEME:
            raise BadInput(f"the signing key {reference!r} is not {SCHEME} and the id, ARN or alias of a KMS key")
        self._key_id = reference.removeprefix(SCHEME)
        found = kms.ask("get_public_key", self._key_id)
        public = serialization.load_der_public_key(found["PublicKey"])
        usable = isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1)
        if not usable or found["KeyUsage"] != USAGE:
            raise BadInput(f"KMS key {self._key_id!r} is not one to sign bundles with; make one of {SPEC} for {USAGE}")
        assert isinstance(public, ec.EllipticCurvePublicKey)
        self._public = public

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public key."""
        return self._public

    def sign(self, data: bytes, algorithm: ec.ECDSA) -> bytes:  # noqa: ARG002  # the one of the curve
        """The signature over the SHA-256 digest of the data, in DER.

        Raises:
            BadInput: KMS cannot be used, or does not take so much data.
        """
        if len(data) > MESSAGE_LIMIT:
            raise BadInput(f"the list of files to sign has {len(data)} bytes; KMS takes {MESSAGE_LIMIT}")
        answer = kms.ask("sign", self._key_id, Message=data, MessageType="RAW", SigningAlgorithm=ALGORITHM)
        signature: bytes = answer["Signature"]
        return signature


class KmsSigner(Signer):
    """Signs as model-signing does with a key file."""

    def __init__(self, key: KmsSigningKey) -> None:
        self._private_key: Any = key
