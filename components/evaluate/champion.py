"""Download the champion's bundle, check that it is the registered one, and prepare its scores for the comparison."""

from collections.abc import Sequence
from pathlib import Path

from slipway.components.artifacts import signing
from slipway.components.artifacts.bundle import MODEL, TOKENIZER, Bundle
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.errors import BadInput, BundleRefused
from slipway.components.evaluate.result import ChampionScores, ModelScores
from slipway.components.platforms import storage
from slipway.components.platforms.model_registry import DATASET, Version


def fetch(champion: Version, model_name: str, public_key: Path, folder: Path) -> Bundle:
    """Download the champion's bundle and open it as a model server does: verified, and in memory.

    Args:
        champion: the registered version.
        model_name: name of the registered model.
        public_key: of the signer, PEM.
        folder: gets the bundle.

    Raises:
        BadInput: the bundle cannot be downloaded, is not the registered one, or is not signed by the key's owner.
    """
    advice = f"restore it, or take the alias champion from version {champion.version} in MLflow"
    try:
        return registered(champion, folder, model_name, public_key)
    except BadInput as error:
        raise BadInput(f"the bundle of champion {champion.version} cannot be read ({error}); {advice}") from error
    except BundleRefused as error:
        raise BadInput(
            f"the bundle of champion {champion.version} at {champion.bundle_uri} is not what was registered ({error}); "
            f"{advice}"
        ) from error


def registered(version: Version, folder: Path, model_name: str, public_key: Path) -> Bundle:
    """Download the bundle of a version into a folder and open it: verified, and in memory.

    Raises:
        BadInput: the bundle cannot be downloaded, or the key cannot be used.
        BundleRefused: it is not the registered one, or is not signed by the key's owner.
    """
    storage.download_folder(version.bundle_uri, folder)
    return signing.opened(folder, public_key, signing.Wanted(model_name, version.digest))


def same_model(first: Bundle, second: Bundle) -> bool:
    """Whether two bundles or drafts must give the same predictions: same model, tokenizer, labels, length and data."""
    fields = ("labels", "max_length", "dataset_digest")
    return all(getattr(first.info, name) == getattr(second.info, name) for name in fields) and all(
        first.read(name) == second.read(name) for name in (MODEL, TOKENIZER)
    )


def scores_of(champion: Version, scores: ModelScores, labels: Sequence[str], data: TextDataset) -> ChampionScores:
    """The scores of a champion, with what a reader of the comparison must know.

    Args:
        champion: the registered version.
        scores: of the champion on the test split.
        labels: that the champion predicts.
        data: the dataset of the challenger.
    """
    return ChampionScores(
        **dict(scores),
        version=champion.version,
        same_data=champion.tags.get(DATASET) == data.digest,
        labels_it_lacks=[label for label in data.labels if label not in labels],
        labels_now_gone=[label for label in labels if label not in data.labels],
    )
