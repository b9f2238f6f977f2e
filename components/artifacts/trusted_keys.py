"""Reads the public keys that servers and the gate trust, and the list of bundles that they refuse nevertheless.

FOLDER/*.pem                 public keys of signers; a `private.pem` is ignored
FOLDER/refused-digests.txt   one digest a line (`sha256:…`); text after `#` is a comment

In place of a folder there may be one PEM file, with the list beside it. The files are read whenever a bundle is loaded.
To change the key without an outage, add the new public key and sign with the new private key. Remove the old public key
once no bundle that serves, or may serve again, is signed with the old one.
"""

from pathlib import Path

from slipway.components.artifacts.key_files import PRIVATE
from slipway.components.errors import BadInput
from slipway.components.platforms import identifiers

REFUSED = "refused-digests.txt"


def public_keys(place: Path) -> list[Path]:
    """The files with public keys at `place`: a folder, or one PEM file. Raises BadInput if a folder has none."""
    if not place.is_dir():
        return [place]
    paths = sorted(path for path in place.glob("*.pem") if path.name != PRIVATE)
    if not paths:
        raise BadInput(f"{place} holds no public key; put the signer's public.pem there")
    return paths


def refused_digests(place: Path) -> frozenset[str]:
    """The digests of bundles that are refused although their signature is valid; none if there is no list.

    Raises:
        BadInput: the list cannot be read, or a line of it is not a digest. A typing error must not let a bundle pass.
    """
    path = (place if place.is_dir() else place.parent) / REFUSED
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read ({error}); it lists a digest a line") from error
    entries = [line.partition("#")[0].strip() for line in lines]
    return frozenset(identifiers.digest(entry, f"a line of {path}") for entry in entries if entry)
