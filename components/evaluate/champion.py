"""The champion's bundle, fetched from where it is stored and checked to be what was registered."""

from pathlib import Path
from typing import Any

from components import storage
from components.bundle import MODEL, TOKENIZER, Bundle
from components.dataset import TextDataset
from components.errors import BadInput
from components.registry import Version


def fetch(champion: Version, folder: Path) -> Path:
    """Bring the champion's bundle to `folder`.

    Raises:
        BadInput: it cannot be fetched, or is not what was registered.
    """
    way_out = f"restore it, or take the alias champion from version {champion.version} in MLflow"
    try:
        storage.download_folder(champion.bundle_uri, folder)
        digest = Bundle(folder).digest()
    except BadInput as error:
        raise BadInput(f"the bundle of champion {champion.version} cannot be read ({error}); {way_out}") from error
    if digest != champion.digest:
        raise BadInput(
            f"the bundle of champion {champion.version} at {champion.bundle_uri} is not what was registered; {way_out}"
        )
    return folder


def same_model(one: Path, other: Path) -> bool:
    """Whether two bundles or drafts answer alike by construction: same model, tokenizer, labels, length and data."""
    first, second = Bundle(one), Bundle(other)
    told = ("labels", "max_length", "dataset_digest")
    return all(getattr(first.info, name) == getattr(second.info, name) for name in told) and all(
        first.read(name) == second.read(name) for name in (MODEL, TOKENIZER)
    )


def facts(champion: Version, labels: list[str], data: TextDataset) -> dict[str, Any]:
    """What a reader of the comparison must know: version, whether its data were others, labels that only one knows."""
    return {
        "version": champion.version,
        "same_data": champion.tags.get("dataset_digest") == data.digest,
        "labels_it_lacks": [label for label in data.labels if label not in labels],
        "labels_now_gone": [label for label in labels if label not in data.labels],
    }
