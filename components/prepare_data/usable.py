"""Which examples can be used: those with a text and a label, of classes that have enough of them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from slipway.components.artifacts.dataset import SPLITS
from slipway.components.artifacts.normalisation import clean
from slipway.components.errors import BadInput
from slipway.components.prepare_data import sources, split_columns
from slipway.components.prepare_data.formats import Example
from slipway.components.prepare_data.settings import DataSettings

TOO_SHORT, TOO_LONG, OVER_LIMIT, NEAR, CONFLICTING = (
    "too short",
    "too long",
    "over the limit",
    "near duplicate",
    "same text, conflicting labels",
)
SETTING = {
    TOO_SHORT: "minimum_length",
    TOO_LONG: "maximum_length",
    OVER_LIMIT: "limit",
    NEAR: "near_duplicate_similarity",
    CONFLICTING: "conflicts",
}
"""The setting by which rows are removed for a reason."""


class Removed:
    """Counts the removed rows by reason and class. The class of a row without label is the empty text."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, reason: str, labels: Iterable[str]) -> None:
        """Count a row for each label."""
        self._counts.update((reason, label) for label in labels)

    def by_reason(self) -> dict[str, int]:
        """The number of rows for each reason."""
        counts: Counter[str] = Counter()
        for (reason, _), count in self._counts.items():
            counts[reason] += count
        return dict(counts)

    def by_class(self) -> dict[str, dict[str, int]]:
        """For each class, sorted, the number of rows for each reason."""
        found: dict[str, dict[str, int]] = {}
        for (reason, label), count in sorted(self._counts.items(), key=lambda item: item[0][1]):
            found.setdefault(label, {})[reason] = count
        return found


def check_local(settings: DataSettings, most_bytes: int | None = None) -> None:
    """Check data on this machine before a run starts. Duplicates are not looked for, which takes long.

    Args:
        settings: of the data.
        most_bytes: data with more bytes are not read; only their files are looked for. None for no limit.

    Raises:
        BadInput: the data are not there, malformed, lack a column, or have too few examples or groups of a class.
    """
    examples = sources.read_local(settings, most_bytes)
    if examples is not None:
        removed = Removed()
        kept = cleaned(split_columns.added(examples, settings), settings, removed)
        with_enough_groups(with_enough_examples(kept, settings, removed), settings, removed)


def cleaned(examples: Sequence[Example], settings: DataSettings, removed: Removed) -> list[Example]:
    """The examples with clean texts and labels. Examples that cannot be used are counted in `removed`."""
    usable = []
    for example in examples:
        text, label = clean(example.text, settings.unescape_html), clean(example.label)
        reason = (
            "no label"
            if not label
            else "no text"
            if not text
            else TOO_SHORT
            if len(text) < settings.minimum_length
            else TOO_LONG
            if len(text) > settings.maximum_length
            else ""
        )
        if reason:
            removed.add(reason, [label])
        else:
            usable.append(example._replace(text=text, label=label))
    return usable


def with_enough_examples(examples: Sequence[Example], settings: DataSettings, removed: Removed) -> list[Example]:
    """The examples of the classes that have the minimum of examples.

    Raises:
        BadInput: a class has fewer examples, or none is left, and the settings refuse such classes; or fewer than two
            classes are left.
    """
    counts = Counter(example.label for example in examples)
    classes = {*counts, *removed.by_class()} - {""}
    rare = {label: counts[label] for label in sorted(classes) if counts[label] < settings.minimum_examples}
    if rare and settings.rare_classes == "refuse":
        listed = ", ".join(f"{label!r} ({count})" for label, count in list(rare.items())[:10])
        rest = f" and {len(rare) - 10} more" if len(rare) > 10 else ""
        raise BadInput(
            f"classes with fewer than data.minimum_examples={settings.minimum_examples} distinct examples: "
            f"{listed}{rest}{_causes(rare, settings, removed)}; add examples, lower data.minimum_examples (3 at "
            f"least), set data.rare_classes=drop, or check data.label_column={settings.label_column!r}"
        )
    removed.add("class with too few examples", (example.label for example in examples if example.label in rare))
    kept = [example for example in examples if example.label not in rare]
    if len(classes) - len(rare) < 2:
        remaining = ", ".join(f"{label!r} ({count})" for label, count in counts.most_common(10)) or "none"
        raise BadInput(
            f"{settings.source} has fewer than 2 classes with usable texts (found: {remaining}; removed: "
            f"{removed.by_reason() or 'nothing'}); check data.label_column and data.text_column"
        )
    return kept


def with_enough_groups(examples: Sequence[Example], settings: DataSettings, removed: Removed) -> list[Example]:
    """The examples of the classes that can be in every split while groups stay whole; all when there are no groups.

    With `data.time_column` a split is what its time makes it, so any number of groups will do for a class.

    Raises:
        BadInput: there are fewer groups than splits; a class is in fewer groups, and the settings refuse such classes;
            or fewer than two classes are left.
    """
    if not settings.group_column:
        return list(examples)
    column, groups_of, whole = settings.group_column, defaultdict(set), set()
    for example, group in zip(examples, split_columns.group_ids(examples), strict=True):
        groups_of[example.label].add(group)
        whole.add(group)
    if len(whole) < len(SPLITS):
        raise BadInput(
            f"data.group_column={column!r} has {len(whole)} groups, too few for {len(SPLITS)} splits; add texts of "
            "other groups, or name another column"
        )
    few = {label: len(groups) for label, groups in sorted(groups_of.items()) if len(groups) < len(SPLITS)}
    if settings.time_column or not few:
        return list(examples)
    if settings.rare_classes == "refuse":
        listed = ", ".join(f"{label!r} ({count})" for label, count in list(few.items())[:10])
        rest = f" and {len(few) - 10} more" if len(few) > 10 else ""
        raise BadInput(
            f"classes in fewer groups of data.group_column={column!r} than there are splits ({len(SPLITS)}): "
            f"{listed}{rest}; a group stays in one split, so add texts of other groups, set data.rare_classes=drop, "
            "or name another column"
        )
    removed.add("class in too few groups", (example.label for example in examples if example.label in few))
    return with_enough_examples([row for row in examples if row.label not in few], settings, removed)


def _causes(rare: Iterable[str], settings: DataSettings, removed: Removed) -> str:
    """Why rows of rare classes were removed, with the settings, for a message; empty if none was removed."""
    told = []
    for label, reasons in removed.by_class().items():
        for reason, count in reasons.items() if label in rare else ():
            setting = f", data.{SETTING[reason]}={getattr(settings, SETTING[reason])}" if reason in SETTING else ""
            told.append(f"{count} of {label!r} ({reason}{setting})")
    return f"; removed were {', '.join(told[:10])}" if told else ""
