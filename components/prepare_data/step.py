"""Entry point of the step `prepare_data`: read, clean, remove duplicates, split, and write the dataset."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from slipway.components.artifacts.dataset import write_dataset
from slipway.components.artifacts.normalisation import name_of
from slipway.components.errors import BadInput
from slipway.components.prepare_data import (
    duplicates,
    label_noise,
    slice_columns,
    sources,
    split_columns,
    splitting,
    summary,
    tokens,
    unit_splitting,
)
from slipway.components.prepare_data.formats import Example
from slipway.components.prepare_data.result import PrepareDataResult
from slipway.components.prepare_data.settings import DataSettings
from slipway.components.prepare_data.usable import (
    CONFLICTING,
    NEAR,
    OVER_LIMIT,
    Removed,
    cleaned,
    with_enough_examples,
    with_enough_groups,
)
from slipway.components.step_runtime import progress

STEP = "prepare_data"


def run(settings: DataSettings, output: Path, encoder: str = "", max_length: int = 0) -> PrepareDataResult:
    """Make a dataset of the source that the settings name.

    Args:
        settings: source, cleaning and splits.
        output: becomes the dataset folder.
        encoder: whose tokens are counted; empty to count none.
        max_length: tokens after which the model will cut texts; 0 when the data decide.

    Raises:
        BadInput: the source cannot be read, a class has too few examples, there are fewer than two classes, or groups
            or times allow no splits.
    """
    source = sources.read(settings)
    rows = split_columns.added(source.examples, settings)
    values = slice_columns.read(settings)
    progress.report(STEP, f"cleaning {len(rows)} rows")
    removed = Removed()
    examples = cleaned(rows, settings, removed)
    merged = duplicates.merge_equal(examples, settings.conflicts)
    dropped: Counter[str] = sum(
        (Counter(conflict.labels) for conflict in merged.conflicts if not conflict.kept), Counter()
    )
    removed.add(CONFLICTING, dropped.elements())
    removed.add("exact duplicate", (_labels(examples) - _labels(merged.examples) - dropped).elements())
    examples = with_enough_examples(merged.examples, settings, removed)
    examples = _ordered(examples, settings, removed)
    progress.report(STEP, f"comparing {len(examples)} texts for near duplicates")
    pairs = duplicates.near_duplicates([example.text for example in examples], settings.near_duplicate_similarity)
    removed.add(NEAR, (examples[pair.removed].label for pair in pairs))
    removed_indices = {pair.removed for pair in pairs}
    kept = [example for index, example in enumerate(examples) if index not in removed_indices]
    kept = with_enough_groups(with_enough_examples(kept, settings, removed), settings, removed)
    splits = unit_splitting.split(kept, settings)
    labels = sorted({example.label for example in kept})
    _check_ready_splits(splits, labels, settings)
    progress.report(STEP, f"writing {len(kept)} texts in {len(labels)} classes")
    numbered_splits = {
        name: ([e.text for e in rows], [labels.index(e.label) for e in rows]) for name, rows in splits.items()
    }
    info = {
        "source": settings.source,
        "rows_read": len(source.examples),
        "normalisation": name_of(settings.unescape_html),
        "settings": settings.model_dump(),
    }
    columns = slice_columns.of_splits(values, splits)
    groups = split_columns.of_splits(splits) if settings.group_column else {}
    dataset = write_dataset(output, numbered_splits, labels, info, columns, groups)
    return PrepareDataResult(
        source=settings.source,
        parts=source.parts[:20],
        rows_read=len(source.examples),
        rows_kept=len(kept),
        removed=removed.by_reason(),
        removed_by_class=removed.by_class(),
        duplicates=summary.duplicates_of(examples, merged, pairs),
        conflicts=summary.conflicts_of(merged),
        conflicts_count=len(merged.conflicts),
        label_noise=label_noise.search(kept, labels, settings),
        labels=labels,
        similar_labels=summary.similar(labels),
        classes=summary.classes_of(splits, labels),
        groups={name: len(set(numbers)) for name, numbers in groups.items()},
        times=summary.times_of(splits) if settings.time_column else {},
        lengths=summary.lengths_of(splits),
        length_histogram=summary.length_histogram(splits),
        tokens=tokens.lengths_of(splits, encoder, max_length) if encoder else None,
        examples=summary.examples_of(splits["train"], labels),
        digest=dataset.digest,
        digests=dataset.info["digests"],
        settings=settings.model_dump(),
    )


def _labels(examples: Sequence[Example]) -> Counter[str]:
    return Counter(example.label for example in examples)


def _ordered(examples: Sequence[Example], settings: DataSettings, removed: Removed) -> list[Example]:
    """Shuffle the examples, cut them to the limit, and put those of the source's held-out splits and the oldest first.

    Of near duplicates the first one is kept. So the held-out splits do not change, and no split by time tests with what
    was known before.
    """
    order = splitting.shuffled(examples, settings.seed)
    limit = settings.limit or len(order)
    removed.add(OVER_LIMIT, (example.label for example in order[limit:]))
    return sorted(order[:limit], key=lambda example: (duplicates.HELD_OUT_FIRST[example.split], example.time))


def _check_ready_splits(splits: dict[str, list[Example]], labels: Sequence[str], settings: DataSettings) -> None:
    """Check that the training split of the source has every class; a ready-made one may lack some."""
    missing = sorted(set(labels) - {example.label for example in splits["train"]})
    if missing:
        raise BadInput(
            f"the training split of {settings.source} has no example of {', '.join(map(repr, missing[:10]))}; "
            "set data.ready_splits to false"
        )
