"""Reads and writes the files of the key pair that signs bundles, an ECDSA P-256 key pair.

private.pem   PKCS #8, mode 0600; never leaves the machine or secret store that signs. There is none for a key in KMS.
public.pem    the public key that every server needs to load bundles
"""

import os
import shlex
import stat
import tempfile
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from slipway.components.errors import BadInput
from slipway.components.machine import whole_file

PRIVATE, PUBLIC = "private.pem", "public.pem"


def private_file(folder: Path) -> Path:
    """The file with the private key in `folder`, which is made at the first use.

    Raises:
        BadInput: it is missing, but a public key is there.
    """
    path = folder / PRIVATE
    if not path.exists():
        # The second check of the private key: another process may have made the pair since the first one.
        if (folder / PUBLIC).exists() and not path.exists():
            raise BadInput(
                f"{folder} has {PUBLIC} but not {PRIVATE}; restore the private key, or remove {PUBLIC} for a new "
                "pair (bundles signed with the old one are then refused)"
            )
        _write_once(path, _private_pem(ec.generate_private_key(ec.SECP256R1())))
    return path


def public_file(folder: Path, key: ec.EllipticCurvePublicKey, signer: str) -> Path:
    """The file with the public key of a signer, which is written if it does not exist.

    If the folder cannot be written, the file is in a temporary folder.

    Args:
        folder: of the key pair.
        key: the public key.
        signer: where the private key is, for messages.

    Raises:
        BadInput: there is a file with another key.
    """
    public = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path = folder / PUBLIC
    if not path.exists() and not os.access(folder, os.W_OK):
        path = Path(tempfile.mkdtemp(prefix="slipway-public-key-")) / PUBLIC
    _write_once(path, public)
    if path.read_bytes() != public:
        raise BadInput(
            f"{PUBLIC} in {folder} and {signer} do not belong together; rename (any *.pem is trusted) or remove it"
        )
    return path


def load_private(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key. Raises BadInput if it is no ECDSA P-256 key, or others can read the file."""
    try:
        _check_private(path)
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadInput(f"{path} is not an unencrypted PEM private key ({error})") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadInput(f"{path} is not an ECDSA P-256 key; remove both key files for a new pair")
    return key


def load_public(path: Path) -> ec.EllipticCurvePublicKey:
    """Read a public key. Raises BadInput if it is no ECDSA P-256 key."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise BadInput(f"{path} is not a PEM public key ({error})") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadInput(f"{path} is not an ECDSA P-256 public key; give the signer's {PUBLIC}")
    return key


def _check_private(path: Path) -> None:
    """Refuse a private key that other users of this machine can read or change.

    Files on a read-only file system are accepted: Kubernetes mounts a Secret so, for one pod, where the mode of the
    file protects it from nobody.
    """
    mode = path.stat().st_mode
    if mode & 0o077 and not os.statvfs(path).f_flag & os.ST_RDONLY:
        raise BadInput(
            f"the private key {path} has the mode {stat.S_IMODE(mode):04o}, so others can read or change it; "
            f"`chmod 600 {shlex.quote(str(path))}`, and make a new pair if somebody may have read it"
        )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_once(path: Path, content: bytes) -> None:
    """Write a file as a whole and with mode 0600, unless it exists. Of several writers the first one wins."""
    if path.exists():
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        whole_file.sync(Path(temporary))
        os.link(temporary, path)  # fails if the file exists, where a rename would replace it
        whole_file.sync(path.parent)  # what the key signs must not outlive it when power is lost
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)
