"""The step as a whole: a clean dataset folder without leakage, an honest account, and clear refusals."""

import csv
import json
import random
from collections import Counter
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from pydantic import ValidationError

from slipway.components.artifacts.dataset import SPLITS, TextDataset
from slipway.components.errors import BadInput
from slipway.components.prepare_data import report, step
from slipway.components.prepare_data.component import prepare_data
from slipway.components.prepare_data.duplicates import shingles
from slipway.components.prepare_data.result import PrepareDataResult
from slipway.components.prepare_data.settings import DataSettings
from slipway.components.step_runtime.step_context import FAILURE
from tests.components.present import present

TOPICS = {
    "billing": "charged invoice payment amount refund card statement fee discount total euro bank",
    "delivery": "parcel courier tracking doorstep late package driver address depot neighbour box van",
    "account": "password login email locked verify profile username code phone delete access reset",
}


def messy_rows() -> list[tuple[str, str]]:
    """Distinct texts in three classes, and the mess: copies, near copies, conflicts, empties, lengths."""
    chance = random.Random(11)
    rows = [
        (" ".join(chance.sample(words.split(), 5)) + f" {chance.randint(100, 999)}", topic)
        for topic, words in TOPICS.items()
        for _ in range(60)
    ]
    copies = [(f"  {text}\t", label) for text, label in rows[::10]]
    near = [(text.upper() + "!", label) for text, label in rows[5::10]]
    crossing = [(rows[1][0] + " ??", "delivery")]
    conflict = [("where is it and what did it cost", label) for label in ("billing", "delivery")]
    broken = [("", "billing"), ("no label here", " "), ("ab", "billing"), ("long " * 1000, "billing")]
    rows = rows + copies + near + crossing + conflict + broken
    chance.shuffle(rows)
    return rows


def write_csv(path: Path, rows: list[tuple[str, str]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(path)


def prepared(tmp_path: Path, rows: list[tuple[str, str]], **changes: object) -> tuple[TextDataset, PrepareDataResult]:
    source = write_csv(tmp_path / "data.csv", rows)
    result = step.run(DataSettings.model_validate({"source": source} | changes), tmp_path / "dataset")
    return TextDataset(tmp_path / "dataset"), result


def refused(tmp_path: Path, rows: list[tuple[str, str]], **changes: object) -> str:
    with pytest.raises(BadInput) as caught:
        prepared(tmp_path, rows, **changes)
    assert not (tmp_path / "dataset").exists()
    return str(caught.value)


def test_no_text_is_equal_or_near_to_one_of_another_split(tmp_path: Path) -> None:
    dataset, _ = prepared(tmp_path, messy_rows())
    sets = [(split, shingles(text)) for split in SPLITS for text in dataset.texts(split)]
    assert {split for split, _ in sets} == set(SPLITS)
    for index, (split, one) in enumerate(sets):
        for other_split, other in sets[:index]:
            assert len(one & other) / len(one | other) < 0.6, (split, other_split)


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    rows = messy_rows()
    dataset, result = prepared(tmp_path, rows, minimum_length=3)
    assert result.rows_read == len(rows)
    removed = result.removed
    assert result.rows_kept == len(rows) - sum(removed.values())
    assert result.rows_kept == sum(len(dataset.texts(split)) for split in SPLITS)
    expected = {"no text": 1, "no label": 1, "too short": 1, "too long": 1, "same text, conflicting labels": 2}
    assert expected.items() <= removed.items()
    assert removed["exact duplicate"] == 18
    assert removed["near duplicate"] >= 19
    by_class = result.removed_by_class
    assert {label: sum(reasons.values()) for label, reasons in by_class.items()} == {
        label: count - sum(result.classes[split].get(label, 0) for split in SPLITS)
        for label, count in Counter(label.strip() for _, label in rows).items()
    }
    assert by_class["billing"]["too long"] == 1
    assert by_class[""] == {"no label": 1}
    assert result.conflicts_count == 1
    json.dumps(result.to_json())


def test_every_class_is_in_every_split_in_equal_shares(tmp_path: Path) -> None:
    dataset, result = prepared(tmp_path, messy_rows())
    assert dataset.labels == sorted(TOPICS)
    assert dataset.info["normalisation"] == "clean-1"
    classes = result.classes
    for label, name in enumerate(dataset.labels):
        total = sum(classes[split][name] for split in SPLITS)
        for split, share in (("train", 0.65), ("validation", 0.15), ("test", 0.2)):
            assert abs(classes[split][name] - share * total) < 1
            assert (dataset.label_ids(split) == label).sum() == classes[split][name]


def test_the_dataset_does_not_depend_on_the_order_of_the_source_but_on_the_seed(tmp_path: Path) -> None:
    rows = messy_rows()
    digests = [
        prepared(tmp_path, order, seed=seed)[0].digest for order, seed in ((rows, 1), (rows[::-1], 1), (rows, 2))
    ]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_a_limit_keeps_that_many_distinct_texts_of_all_classes(tmp_path: Path) -> None:
    _, result = prepared(tmp_path, messy_rows(), limit=100)
    removed = result.removed
    assert result.rows_kept == 100 - removed["near duplicate"]


def test_a_class_with_one_example_is_named_with_its_count_and_the_setting(tmp_path: Path) -> None:
    rows = [*messy_rows(), ("a lonely message", "complaints")]
    message = refused(tmp_path, rows)
    assert "'complaints' (1)" in message
    assert "minimum_examples=10" in message
    dataset, result = prepared(tmp_path, rows, rare_classes="drop")
    assert "complaints" not in dataset.labels
    assert "class with too few examples" in str(result.removed)


def test_copies_do_not_make_a_class_large_enough(tmp_path: Path) -> None:
    rows = [*messy_rows(), *[("the same complaint", "complaints")] * 50]
    assert "'complaints' (1)" in refused(tmp_path, rows)
    near = [*messy_rows(), *[(f"the same long complaint about everything {'!' * n}", "complaints") for n in range(50)]]
    assert "'complaints' (1)" in refused(tmp_path, near)


def test_texts_of_two_chinese_characters_and_words_that_differ_in_their_vowels_are_kept(tmp_path: Path) -> None:
    good, bad = "很好 不错 真棒 喜欢 满意 推荐 完美 优秀 精彩 舒服", "很差 太差 糟糕 难用 失望 垃圾 讨厌 后悔 难看 坏了"
    rows = [(text, label) for texts, label in ((good, "good"), (bad, "bad")) for text in texts.split()]
    _, result = prepared(tmp_path, rows)
    assert result.rows_kept == 20
    consonants = "कखगघचछजझटठडढतथद"
    rows = [
        ("".join(f"{c}{vowel}" for c in (consonants[n:] + consonants)[:4]), vowel) for vowel in "िो" for n in range(12)
    ]
    (tmp_path / "hindi").mkdir()
    assert prepared(tmp_path / "hindi", rows)[1].rows_kept == 24


def test_fewer_than_two_classes_are_refused(tmp_path: Path) -> None:
    rows = [(text, "all") for text, _ in messy_rows()]
    assert "fewer than 2 classes" in refused(tmp_path, rows)
    assert "fewer than 2 classes" in refused(tmp_path, [("", ""), ("", "")])


def test_ready_splits_are_kept_and_training_gives_way_to_the_test(tmp_path: Path) -> None:
    rows = [row for row in messy_rows() if row[1] in TOPICS and 10 < len(row[0]) < 100 and "where" not in row[0]]
    folder = tmp_path / "parts"
    folder.mkdir()
    write_csv(folder / "test.csv", rows[:80])
    near_copies = [(f"{' '.join(text.split())} ?!", label) for text, label in rows[:40]]
    write_csv(folder / "train.csv", rows[40:] + near_copies)
    result = step.run(DataSettings(source=str(folder), ready_splits=True), tmp_path / "dataset")
    dataset = TextDataset(tmp_path / "dataset")
    cleaned_test = {" ".join(text.split()) for text, _ in rows[:80]}
    assert set(dataset.texts("test")) <= cleaned_test
    leaking = cleaned_test | {text for text, _ in near_copies}
    assert not leaking & {*dataset.texts("train"), *dataset.texts("validation")}
    assert len(dataset.texts("test")) > 60
    assert dataset.texts("validation")
    assert result.removed["exact duplicate"] >= 40


def test_a_source_on_s3_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket="data")
        client.upload_file(write_csv(tmp_path / "x.csv", messy_rows()), "data", "all/x.csv")
        folder, file = (
            step.run(DataSettings(source=source), tmp_path / name)
            for source, name in (("s3://data/all", "1"), ("s3://data/all/x.csv", "2"))
        )
        assert folder.digest == file.digest
        client.upload_file(str(tmp_path / "x.csv"), "data", "reviews.parquet/part-00000")  # as Spark names things
        client.put_object(Bucket="data", Key="reviews.parquet/_SUCCESS", Body=b"")
        named = DataSettings(source="s3://data/reviews.parquet", format="csv")
        assert step.run(named, tmp_path / "4").digest == file.digest
        with pytest.raises(BadInput, match="'data' .* has no object 'none.csv'"):
            step.run(DataSettings(source="s3://data/none.csv"), tmp_path / "3")
    finally:
        server.stop()


def test_the_shipped_messages_are_many_in_many_uneven_topics_with_the_usual_mess(tmp_path: Path) -> None:
    result = step.run(DataSettings(), tmp_path / "dataset")
    dataset = TextDataset(tmp_path / "dataset")
    counts = Counter(int(label) for split in SPLITS for label in dataset.label_ids(split))
    assert result.rows_read >= 1500
    assert len(dataset.labels) >= 8
    assert max(counts.values()) > 3 * min(counts.values())
    assert result.removed["near duplicate"] > 20
    assert min(result.classes["test"].values()) >= 10


def test_the_report_shows_balance_lengths_removed_rows_and_escapes_texts(tmp_path: Path) -> None:
    rows = [*messy_rows(), *[("<script>alert(1)</script> in my parcel", "delivery")] * 30]
    _, result = prepared(tmp_path, rows)
    section = report.section(result)
    assert "<script>" not in section
    assert "&lt;script&gt;" in section
    assert section.count("<figure") == 2
    shown = ("near duplicate", "same text, conflicting labels", "Median", "billing", "Removed rows of each class")
    for text in (*shown, str(result.rows_read)):
        assert text in section


class Place:
    """What kfp hands to a component for an artifact."""

    def __init__(self, path: Path) -> None:
        self.path, self.metadata, self.logged = str(path), dict[str, object](), dict[str, float]()

    def log_metric(self, name: str, value: float) -> None:
        self.logged[name] = value


def test_the_component_hands_on_dataset_results_page_and_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLIPWAY_RUN", raising=False)
    places = {name: Place(tmp_path / "out" / name) for name in ("dataset", "data_report", "data_counts")}
    source = write_csv(tmp_path / "data.csv", messy_rows())
    prepare_data.python_func(request={"settings": {"source": source}}, version="1", **places)
    assert places["dataset"].metadata["digest"] == TextDataset(places["dataset"].path).digest
    results = json.loads((Path(places["dataset"].path) / "results.json").read_text())
    assert places["data_counts"].logged["rows_kept"] == results["prepare_data"]["rows_kept"]
    assert "<svg" in Path(places["data_report"].path).read_text()


def test_the_component_ends_with_the_exit_code_of_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_RUN", str(tmp_path))
    places = {name: Place(tmp_path / "out" / name) for name in ("dataset", "data_report", "data_counts")}
    with pytest.raises(SystemExit, match="2"):
        prepare_data.python_func(request={"settings": {"source": "missing.csv"}}, version="", **places)
    assert "missing.csv" in json.loads((tmp_path / FAILURE).read_text())["message"]


@pytest.mark.parametrize(
    "changes",
    [
        {"validation_share": 0.5, "test_share": 0.5},
        {"text_column": "x", "label_column": "x"},
        {"minimum_length": 10, "maximum_length": 9},
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DataSettings.model_validate(changes)


@pytest.mark.parametrize(("max_length", "read", "cut"), [(0, 64, 0), (8, 8, 60)])
def test_the_report_says_how_many_texts_the_model_will_cut(
    tmp_path: Path, tiny_encoder: Path, max_length: int, read: int, cut: int
) -> None:
    source = tmp_path / "texts.csv"
    words = [f"{word}{number}" for number in range(30) for word in ("abc", "xyz")]
    rows = [f"{word} {word[::-1]} of a long text,{'ab'[index % 2]}" for index, word in enumerate(words)]
    source.write_text("text,label\n" + "\n".join(rows), "utf-8")
    settings = DataSettings(source=str(source), near_duplicate_similarity=1.0)
    result = step.run(settings, tmp_path / "dataset", str(tiny_encoder), max_length)
    tokens = present(result.tokens)
    assert (tokens.max_length, sum(tokens.cut.values())) == (read, cut)
    assert tokens.p99 <= tokens.longest < 64
    page = report.section(result)
    assert (f"Cut after 8 tokens: {tokens.cut['train']} of" in page) == (cut > 0)
