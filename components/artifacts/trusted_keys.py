"""Whom servers and the gate trust: public keys, several while a key is changed, and bundles refused all the same.

PLACE/*.pem                  each is the public key of a signer; `private.pem` is none
PLACE/refused-digests.txt    a digest a line (`sha256:…`); what follows `#` is a remark

A place is such a folder, or one PEM file with the list beside it. It is read whenever a bundle is loaded. To change the
key without an outage: add the new public key, sign with the new private key, remove the old public key when nothing
that serves, or may serve again, is signed with it.
"""

from pathlib import Path

from slipway.components.errors import BadInput
from slipway.components.platforms import identifiers

REFUSED = "refused-digests.txt"
PRIVATE = "private.pem"


def public_keys(place: Path) -> list[Path]:
    """The files with public keys. Raises BadInput when there is none."""
    if not place.is_dir():
        return [place]
    found = sorted(path for path in place.glob("*.pem") if path.name != PRIVATE)
    if not found:
        raise BadInput(f"{place} holds no public key; put the signer's public.pem there")
    return found


def refused_digests(place: Path) -> frozenset[str]:
    """The digests that are refused, whoever signed.

    Raises:
        BadInput: the list cannot be read, or a line of it is no digest; nothing is loaded past an unclear list.
    """
    path = (place if place.is_dir() else place.parent) / REFUSED
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read ({error}); it lists a digest a line") from error
    told = [line.partition("#")[0].strip() for line in lines]
    return frozenset(identifiers.digest(line, f"a line of {path}") for line in told if line)
