"""Read a dataset from the Hugging Face hub. A hub that cannot be reached is an error within seconds."""

import os
from pathlib import Path
from typing import Any

from slipway.components.clients.hub_advice import hub_advice
from slipway.components.errors import BadInput
from slipway.components.prepare_data.formats import find_column
from slipway.components.prepare_data.settings import DataSettings
from slipway.components.prepare_data.values import as_text
from slipway.components.step_runtime import progress

TIMEOUT_SECONDS = 5.0

Pairs = list[tuple[str, str]]


def read(settings: DataSettings) -> dict[str, Pairs]:
    """Read text and label of every row, by the name of the split in the hub's dataset.

    Raises:
        BadInput: there is no such dataset or configuration, the hub cannot be reached, or a column is missing.
    """
    import datasets  # imported here: it takes more than a second, and only this source needs it

    name = pinned(settings.source)
    progress.report("prepare_data", f"loading {name} from the Hugging Face hub")
    repository, _, commit = name.partition("@")
    try:
        loaded = datasets.load_dataset(repository, settings.hub_config or None, revision=commit or None)
    except Exception as error:  # the library raises many classes of errors, also those of its dependencies
        advice = hub_advice(error) or "; check data.hub_config"
        raise BadInput(f"Hugging Face dataset {name!r} cannot be loaded ({_reason(error)}){advice}") from error
    return {split: _pairs(rows, settings, f"split {split} of {name!r}") for split, rows in loaded.items()}


def pinned(source: str) -> str:
    """The name of a dataset on the hub with its present commit, `org/name@COMMIT`; unchanged when it is unknown.

    Args:
        source: `org/name`, or with a revision `org/name@v2`.

    Raises:
        BadInput: as `revision`.
    """
    commit = revision(source)
    return f"{source.partition('@')[0]}@{commit}" if commit else source


def revision(source: str) -> str:
    """The present commit of a dataset on the hub; empty when the environment allows the local cache only.

    It also shows quickly whether the hub can be reached: `load_dataset` would try for half a minute.

    Raises:
        BadInput: there is no such dataset or revision, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, _, requested = source.partition("@")
    try:
        return str(HfApi().dataset_info(name, revision=requested or None, timeout=TIMEOUT_SECONDS).sha or "")
    except OfflineModeIsEnabled:
        if not _in_cache(name):
            raise BadInput(
                f"data.source {name!r} is neither a file nor a folder here, nor a Hugging Face dataset in the cache; "
                "correct the path, or unset HF_HUB_OFFLINE to load the dataset"
            ) from None
        return ""  # `load_dataset` then loads from the cache only, without a wait
    except GatedRepoError:
        raise BadInput(
            f"Hugging Face dataset {name!r} is gated; accept its terms on the hub and set HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise BadInput(
            f"Hugging Face dataset {name!r} has no revision {requested!r}; give a branch, tag or commit"
        ) from None
    except RepositoryNotFoundError:
        raise BadInput(
            f"data.source {name!r} is neither a file or folder here nor a Hugging Face dataset that "
            f"{constants.ENDPOINT} knows; check the name (a private dataset needs HF_TOKEN)"
        ) from None
    except Exception as error:  # the HTTP library's classes differ between versions of the hub's client
        if advice := hub_advice(error):
            raise BadInput(
                f"Hugging Face dataset {name!r} cannot be had from {constants.ENDPOINT} ({_reason(error)}){advice}"
            ) from None
        raise BadInput(
            f"data.source {name!r} is neither a file nor a folder here, and as a Hugging Face dataset it cannot be "
            f"had: {constants.ENDPOINT} cannot be reached ({_reason(error)}); give a file, or set HF_HUB_OFFLINE=1 to "
            "use a dataset in the cache"
        ) from None


def _in_cache(name: str) -> bool:
    """Whether this machine has a dataset of the hub, as files or as the library's tables."""
    from huggingface_hub import constants

    tables = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets")
    files = Path(constants.HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}"
    return files.is_dir() or (tables / name.replace("/", "___")).is_dir()


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _pairs(rows: Any, settings: DataSettings, where: str) -> Pairs:
    for setting in ("text_column", "label_column"):
        find_column(rows.column_names, getattr(settings, setting), setting, where)
    names = getattr(rows.features[settings.label_column], "names", None)
    texts, labels = (rows.with_format(None)[column][:] for column in (settings.text_column, settings.label_column))
    if names:  # class indices; a hidden label is -1
        labels = [names[label] if label is not None and label >= 0 else None for label in labels]
    return [
        (as_text(text, f"{where} row {row}"), as_text(label, f"{where} row {row}"))
        for row, (text, label) in enumerate(zip(texts, labels, strict=True), start=1)
    ]
