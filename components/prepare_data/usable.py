"""Which examples can be used: those with a text and a label, of classes that have enough of them."""

from collections import Counter
from collections.abc import Sequence

from slipway.components.errors import BadInput
from slipway.components.prepare_data import sources
from slipway.components.prepare_data.cleaning import clean
from slipway.components.prepare_data.formats import Example
from slipway.components.prepare_data.settings import DataSettings


def check_local(settings: DataSettings, most_bytes: int | None = None) -> None:
    """Check data on this machine before a run starts. Duplicates are not looked for, which takes long.

    Args:
        settings: of the data.
        most_bytes: data with more bytes are not read; only their files are looked for. None for no limit.

    Raises:
        BadInput: the data are not there, malformed, lack a column, or have too few examples of a class.
    """
    examples = sources.read_local(settings, most_bytes)
    if examples is not None:
        removed: Counter[str] = Counter()
        with_enough_examples(cleaned(examples, settings, removed), settings, removed)


def cleaned(examples: Sequence[Example], settings: DataSettings, removed: Counter[str]) -> list[Example]:
    """The examples with clean texts and labels. Examples that cannot be used are counted in `removed` by reason."""
    usable = []
    for example in examples:
        text, label = clean(example.text, settings.unescape_html), clean(example.label)
        reason = (
            "no label"
            if not label
            else "no text"
            if not text
            else "too short"
            if len(text) < settings.minimum_length
            else "too long"
            if len(text) > settings.maximum_length
            else ""
        )
        if reason:
            removed[reason] += 1
        else:
            usable.append(Example(text, label, example.split))
    return usable


def with_enough_examples(examples: Sequence[Example], settings: DataSettings, removed: Counter[str]) -> list[Example]:
    """The examples of the classes that have the minimum of examples.

    Raises:
        BadInput: a class has fewer examples and the settings refuse such classes, or fewer than two classes are left.
    """
    counts = Counter(example.label for example in examples)
    rare = {label: count for label, count in sorted(counts.items()) if count < settings.minimum_examples}
    if rare and settings.rare_classes == "refuse":
        listed = ", ".join(f"{label!r} ({count})" for label, count in list(rare.items())[:10])
        rest = f" and {len(rare) - 10} more" if len(rare) > 10 else ""
        raise BadInput(
            f"classes with fewer than data.minimum_examples={settings.minimum_examples} distinct examples: "
            f"{listed}{rest}; add examples, lower data.minimum_examples (3 at least), set data.rare_classes=drop, or "
            f"check data.label_column={settings.label_column!r}"
        )
    removed["class with too few examples"] += sum(rare.values())
    kept = [example for example in examples if example.label not in rare]
    if len(counts) - len(rare) < 2:
        remaining = ", ".join(f"{label!r} ({count})" for label, count in counts.most_common(10)) or "none"
        raise BadInput(
            f"{settings.source} has fewer than 2 classes with usable texts (found: {remaining}; removed: "
            f"{dict(+removed) or 'nothing'}); check data.label_column and data.text_column"
        )
    return kept
