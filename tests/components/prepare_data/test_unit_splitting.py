"""Splits by a column of groups, and by a column of times."""

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from slipway.components.artifacts.dataset import SPLITS, TextDataset
from slipway.components.errors import BadInput
from slipway.components.prepare_data import report, split_columns, step, times, unit_splitting, usable
from slipway.components.prepare_data.duplicates import merge_equal
from slipway.components.prepare_data.formats import Example
from slipway.components.prepare_data.result import PrepareDataResult
from slipway.components.prepare_data.settings import DataSettings
from slipway.components.prepare_data.splitting import shuffled
from tests.conftest import WORDS, messages

SHARES = {"train": 0.65, "validation": 0.15, "test": 0.2}
FANO = ["123", "145", "167", "246", "257", "347", "356"]
"""The groups of each of seven classes: there is no division with every class in every split."""
BY_GROUP = DataSettings(group_column="customer")
BY_TIME = DataSettings(time_column="sent")
BY_BOTH = DataSettings(group_column="customer", time_column="sent")


def rows_of(count: int = 120, **changes: Mapping[int, str]) -> list[dict[str, str]]:
    """Rows with a customer for each four texts, one text a day, and changes of columns by row."""
    texts, topics = messages(count, 1)
    rows = []
    for number, (text, topic) in enumerate(zip(texts, topics, strict=True)):
        day = f"2026-{1 + number // 28:02d}-{1 + number % 28:02d}"
        row = {"text": text, "label": list(WORDS)[topic], "customer": f"c{number // 4}", "sent": day}
        rows.append(row | {column: values[number] for column, values in changes.items() if number in values})
    return rows


def written(folder: Path, rows: list[dict[str, str]]) -> str:
    path = folder / "messages.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def prepared(
    folder: Path, rows: list[dict[str, str]], **changes: Any
) -> tuple[PrepareDataResult, dict[str, list[dict[str, str]]]]:
    """The result of the step, and the rows of the source by split."""
    settings = DataSettings.model_validate({"source": written(folder, rows), "label_noise_texts": 0} | changes)
    result = step.run(settings, folder / "dataset")
    data = TextDataset(folder / "dataset")
    row_of = {row["text"]: row for row in reversed(rows)}
    return result, {split: [row_of[text] for text in data.texts(split)] for split in SPLITS}


def of(count: int, label: str, group: str = "", time: float = 0.0, start: int = 0) -> list[Example]:
    return [
        Example(f"{label} {group} {time} {number}", label, "", group, time) for number in range(start, start + count)
    ]


def test_all_texts_of_a_group_are_in_one_split_and_in_one_number(tmp_path: Path) -> None:
    rows = rows_of(customer=dict.fromkeys(range(100, 120), " "))
    result, splits = prepared(tmp_path, rows, group_column="customer")
    places = {(row["customer"], split) for split, found in splits.items() for row in found if row["customer"].strip()}
    assert len(places) == len({customer for customer, _ in places}) == 25
    data = TextDataset(tmp_path / "dataset")
    numbers = {split: np.asarray(data.groups(split)).tolist() for split in SPLITS}
    for split in SPLITS:
        assert abs(len(splits[split]) / 120 - SHARES[split]) < 0.03
        assert set(result.classes[split].values()) - {0} == set(result.classes[split].values())
        assert data.columns(split) == {}, "a group is no slice"
        pairs = set(zip(numbers[split], (row["customer"].strip() or row["text"] for row in splits[split]), strict=True))
        assert len(pairs) == len({number for number, _ in pairs}) == result.groups[split]
    assert sum(result.groups.values()) == 25 + 20, "a text without customer is a group of its own"


def test_the_splits_do_not_depend_on_the_order_of_the_source(tmp_path: Path) -> None:
    rows = rows_of()
    rows.append(rows[0] | {"customer": "c20", "sent": "2020-01-01"})
    found = [prepared(tmp_path, order, group_column="customer")[0].digest for order in (rows, rows[::-1])]
    assert found[0] == found[1]
    assert prepared(tmp_path, rows, group_column="customer", seed=2)[0].digest != found[0]


@pytest.mark.parametrize(
    ("groups", "kept"),
    [(["b", "a", "b"], "b"), (["b", "a"], "a"), (["", "", "a"], "a"), (["", ""], "")],
)
def test_an_equal_text_of_several_groups_is_in_the_one_that_has_it_most_often(groups: list[str], kept: str) -> None:
    examples = [Example("hello", "x", "", group, 9.0 - number) for number, group in enumerate(groups)]
    for order in (examples, examples[::-1]):
        (merged,) = merge_equal(order, "majority").examples
        assert (merged.group, merged.time) == (kept, 10.0 - len(groups)), "the time is when it first occurred"


def test_a_class_of_too_few_groups_is_named_or_left_out(tmp_path: Path) -> None:
    rows = rows_of(label=dict.fromkeys([*range(0, 6), 70], "rare"))
    settings = DataSettings(source=written(tmp_path, rows), group_column="customer", minimum_examples=5)
    usable.check_local(settings)
    few = rows_of(label=dict.fromkeys(range(0, 6), "rare"))
    written(tmp_path, few)
    for check in (usable.check_local, lambda settings: step.run(settings, tmp_path / "dataset")):
        with pytest.raises(
            BadInput, match=r"data.group_column='customer' than there are splits \(3\): 'rare' \(2\); a "
        ):
            check(settings)
    result, _ = prepared(tmp_path, few, group_column="customer", minimum_examples=5, rare_classes="drop")
    assert (result.labels, result.removed["class in too few groups"]) == (sorted(WORDS), 6)


@pytest.mark.parametrize(
    ("settings", "examples", "message"),
    [
        (BY_GROUP, [*of(90, "a", "big"), *of(5, "a"), *of(5, "b")], "the largest group, 'big', has 90; leave"),
        (BY_BOTH, [*of(90, "a", "big", 5.0), *of(5, "a"), *of(5, "b")], "the largest group, 'big', has 90; leave"),
        (BY_TIME, of(20, "a") + of(20, "b"), "data.time_column='sent' has one time in all rows, 1970-01-01; name"),
        (
            BY_TIME,
            [*of(30, "a"), *of(9, "b", time=86400.0)],
            r"no example of 'b' \(its texts begin at 1970-01-02\); add",
        ),
        (
            BY_GROUP,
            [
                example
                for number, groups in enumerate(FANO)
                for group in groups
                for example in of(1, f"{number}", group)
            ],
            "no division of the groups of data.group_column='customer' was found in which the",
        ),
    ],
)
def test_splits_that_cannot_be_are_refused(settings: DataSettings, examples: list[Example], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        unit_splitting.split(examples, settings)


def test_fewer_groups_than_splits_are_refused() -> None:
    examples = [*of(20, "a", "x"), *of(20, "b", "y")]
    with pytest.raises(BadInput, match="data.group_column='customer' has 2 groups, too few for 3 splits; add texts of"):
        usable.with_enough_groups(examples, BY_GROUP, usable.Removed())


@pytest.mark.parametrize("setting", ["group_column", "time_column"])
def test_a_column_that_cannot_be_used_is_refused(setting: str, tmp_path: Path) -> None:
    settings = DataSettings.model_validate({"source": written(tmp_path, rows_of()), setting: "shop"})
    for check in (usable.check_local, lambda settings: step.run(settings, tmp_path / "dataset")):
        with pytest.raises(BadInput, match=f"no column 'shop'.*; set data.{setting} to one of them"):
            check(settings)
    with pytest.raises(ValidationError, match=f"{setting} and ready_splits both say how texts are split; set one"):
        DataSettings.model_validate({setting: "a", "ready_splits": True})
    with pytest.raises(ValidationError, match=f"{setting} is 'label', as is the column of texts or labels"):
        DataSettings.model_validate({setting: "label"})


def test_the_newest_texts_are_the_test_split(tmp_path: Path) -> None:
    rows = rows_of()
    rows.append(rows[3] | {"sent": "2026-12-31"})
    rows += [{"text": " ", "label": "billing", "customer": "", "sent": ""}] * 2
    result, splits = prepared(tmp_path, rows, time_column="sent")
    by_time = [row["text"] for split in SPLITS for row in sorted(splits[split], key=lambda row: row["sent"])]
    assert by_time == [row["text"] for row in rows[:120]], "a text that comes again is as old as at first"
    assert [len(splits[split]) for split in SPLITS] == [78, 18, 24]
    assert result.times["test"] == [rows[96]["sent"], "2026-05-08"]


def test_of_near_duplicates_the_older_one_is_kept(tmp_path: Path) -> None:
    rows = rows_of()
    late = [row | {"text": f"{row['text']} !!", "sent": "2026-09-01"} for row in rows[:40]]
    result, splits = prepared(tmp_path, [*late, *rows], time_column="sent")
    assert result.removed["near duplicate"] == 40
    assert max(row["sent"] for row in splits["test"]) < "2026-09"


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        ([20, 20, 20, 20, 20], [60, 20, 20]),  # of years: no year is cut
        ([50, 50], [65, 15, 20]),  # of two years: the later one has to be cut
        ([2, 96, 2], [65, 15, 20]),
        ([70, 10, 20], [70, 10, 20]),
    ],
)
def test_texts_of_one_time_stay_together_where_shares_allow(counts: list[int], sizes: list[int]) -> None:
    examples = [example for year, count in enumerate(counts) for example in of(count, "a", time=year)]
    splits = unit_splitting.by_time(shuffled(examples, 1), SHARES, in_groups=False)
    assert [len(splits[name]) for name in SPLITS] == sizes
    newest = [max(example.time for example in splits[name]) for name in SPLITS]
    assert newest == sorted(newest)
    shares = {"train": 0.1, "validation": 0.45, "test": 0.45}
    splits = unit_splitting.by_time(examples, shares, in_groups=False)
    assert all(len(splits[name]) >= 50 * share for name, share in shares.items())


def test_groups_are_as_new_as_their_newest_text() -> None:
    examples = [example for n in range(50) for example in (*of(1, "a", f"c{n}", n), *of(1, "b", f"c{n}", (n * 7) % 50))]
    splits = unit_splitting.split(shuffled(examples, 1), BY_BOTH)
    newest = {
        name: sorted(max(row.time for row in examples if row.group == group) for group in {row.group for row in rows})
        for name, rows in splits.items()
    }
    assert newest["train"][-1] <= newest["validation"][0] <= newest["validation"][-1] <= newest["test"][0]
    assert Counter(group for rows in splits.values() for group in {row.group for row in rows}).most_common(1)[0][1] == 1


def test_the_report_tells_groups_and_times_and_what_a_split_lacks(tmp_path: Path) -> None:
    rows = rows_of(label=dict.fromkeys(range(0, 40, 2), "gone"))
    result, _ = prepared(tmp_path, rows, group_column="customer", time_column="sent")
    page = report.section(result)
    assert result.classes["test"]["gone"] == 0
    assert "The test split has no example of gone." in page
    assert "The train split" not in page
    told = {"Groups in train / validation / test": "19 / 5 / 6", "Times in train": "2026-01-01 to 2026-03-20"}
    assert all(f"<b>{value}</b><span>{name}</span>" in page for name, value in told.items())


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (["1970-01-02", "1970-01-01T01:00:00+01:00", "1970-01-01 00:00:01.5", "1970-02", "19700102"], None),
        (["1970", "1971"], [0.0, 365 * 86400.0]),
        (["86400", "0", "-1.5", "1767225600"], [86400.0, 0.0, -1.5, 1767225600.0]),
    ],
)
def test_dates_years_and_seconds_are_times(values: list[str], seconds: list[float] | None) -> None:
    wanted = seconds or [86400.0, 0.0, 1.5, 31 * 86400.0, 86400.0]
    assert times.seconds_of([None, *values], "a.csv", "sent") == [0.0, *wanted]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", "has ''"),
        ("31.03.2026", "has '31.03.2026' in column 'sent', the data.time_column; expected a date as 2026-03-31"),
        ("2026-02-30", "has '2026-02-30'"),
        ("1767225600000", "divide milliseconds by 1000"),
        ("99999999999999999999", "expected a date"),
        ("2026", "which is a year, but row 2 has '2026-01-01', a date; expected"),
        ("0000", "expected a date"),
    ],
)
def test_a_value_that_is_no_time_like_the_others_is_named_with_its_row(value: str, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        times.seconds_of([None, "2026-01-01", value], "a.csv", "sent")
    assert told in str(caught.value)
    assert str(caught.value).startswith("row 3 of a.csv (without head lines) ")


def test_a_time_that_cannot_be_read_is_told_before_a_run(tmp_path: Path) -> None:
    source = written(tmp_path, rows_of(sent={7: "soon"}))
    with pytest.raises(BadInput, match="row 8 of .* has 'soon' in column 'sent'"):
        usable.check_local(DataSettings(source=source, time_column="sent"))


def test_groups_have_numbers_that_do_not_tell_them() -> None:
    splits = {"train": [*of(2, "a", "Ann"), *of(2, "a")], "test": of(1, "a", "Bob")}
    assert split_columns.of_splits(splits) == {"train": [2, 2, 0, 1], "test": [3]}
