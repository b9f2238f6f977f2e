"""`slipway explain` and the picture, on answers of a real model; the server is replaced at the client's boundary."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console

from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.clients import v2_client
from slipway.components.clients.v2_protocol import Explanation
from slipway.components.errors import BadInput
from slipway.components.explanation.class_explanation import ClassExplanation
from slipway.components.explanation.picture import document, tints, words
from slipway.components.explanation.shapley import explain as explained
from slipway.pipelines.cli.explain import as_json, explain, given_texts

TEXTS = ["please, my parcel is late <b>", "invoice charged"]


class Client(v2_client.Client):
    """Answers as the server does, without one."""

    def __init__(self, bundle: Path) -> None:
        self._classifier = Classifier(bundle)

    def explain(self, texts: str | Iterable[str], top: int = 1) -> list[list[Explanation]]:
        found = []
        for text in texts:
            told = explained(text, self._classifier.tokenizer, self._classifier.run)
            scores = self._classifier.probabilities([text])[0]
            best = (-scores).argsort()[:top]
            told_of = [
                told.to_json(rank, self._classifier.labels[rank]) | {"score": float(scores[rank])} for rank in best
            ]
            found.append([Explanation.from_json(each) for each in told_of])
        return found


@pytest.fixture(scope="module")
def client(draft_bundle: Path) -> Client:
    return Client(draft_bundle)


def test_words_are_printed_in_colour_with_the_label_and_what_they_add_up_to(client: Client, tmp_path: Path) -> None:
    console = Console(record=True, width=100, force_terminal=True, color_system="truecolor")
    explain(client, TEXTS, 1, tmp_path / "new" / "picture.html", console)
    coloured = console.export_text(styles=True, clear=False)
    plain = console.export_text()
    assert "delivery 0.9" in plain
    assert "please , my parcel is late" in plain
    assert "every word masked" in plain
    assert "\x1b[30;48;2;" in coloured
    assert str(tmp_path / "new" / "picture.html") in plain.replace("\n", "")


def test_the_picture_has_every_word_escaped_and_tinted_by_its_attribution(client: Client, tmp_path: Path) -> None:
    explain(client, TEXTS, 2, tmp_path / "picture.html", Console(quiet=True))
    html = (tmp_path / "picture.html").read_text("utf-8")
    assert html.count('<div class="words">') == 4
    assert "&lt;" in html
    assert "<b>" not in html.replace("<body>", "")
    assert "delivery: 9" in html
    told = ClassExplanation.model_validate(client.explain(TEXTS[:1])[0][0].to_json())
    shade = {word: tint for word, _, tint in tints(told)}
    assert shade["parcel"][1] > shade["parcel"][0]  # green
    assert min(shade["please"]) > min(shade["parcel"])  # paler


def test_a_text_without_words_has_a_picture_too() -> None:
    told = ClassExplanation(label="a", words=[], attributions=[], logit=1.0, baseline=1.0, score=0.5)
    assert "add +0.00" in words(told)
    assert "<h1>" in document([""], [[told]])


def test_json_is_for_scripts(client: Client) -> None:
    told = json.loads(as_json(client, TEXTS, 1))
    assert [item["text"] for item in told] == TEXTS
    assert told[0]["explanations"][0]["label"] == "delivery"


def test_a_picture_that_cannot_be_written_is_bad_input(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be written"):
        explain(client, TEXTS[:1], 1, tmp_path / "file" / "picture.html", Console(quiet=True))


def test_texts_may_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", iter(["one\n", "\n", "two words\n"]))
    assert given_texts(["-"]) == ["one", "two words"]
    assert given_texts(["a", "b"]) == ["a", "b"]
