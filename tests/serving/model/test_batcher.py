"""How waiting texts are put into batches; the classifier here records its batches and computes lengths."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.serving.errors import InferenceFailed, Overloaded
from slipway.serving.limits import Limits
from slipway.serving.model import batcher
from slipway.serving.model.batcher import SHORT, WARM_UP, Batcher


class Recorder:
    """A classifier of two classes: the first logit is the number of tokens."""

    def __init__(self, token_s: float = 0.0) -> None:
        self.token_s = token_s
        self.labels = ["long", "short"]
        self.tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "bad": 1, "odd": 2}, unk_token="[UNK]"))
        self.tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        self.batches: list[list[int]] = []

    def normalised(self, texts: Sequence[str]) -> list[str]:
        return list(texts)

    def run(self, encodings: Sequence[Any]) -> np.ndarray:
        self.batches.append([len(encoding.ids) for encoding in encodings])
        ids = [encoding.ids for encoding in encodings]
        time.sleep(self.token_s * len(ids) * max(map(len, ids)))
        if any(1 in row for row in ids):
            raise ValueError("a bad text")
        logits = np.array([[len(row), 0.0] for row in ids], dtype=np.float32)
        return np.where([[2 in row] for row in ids], np.nan, logits).astype(np.float32)


def batcher_of(recorder: Recorder, streams: int = 1, wide: Recorder | None = None, **limits: Any) -> Batcher:
    """A batcher needs no more of a classifier than a recorder has."""
    one, other = cast("Classifier", recorder), cast("Classifier | None", wide)
    return Batcher(one, Limits(**limits), streams=streams, wide=other)


def ask(recorder: Recorder, requests: Sequence[Sequence[str]], **limits: Any) -> list[Any]:
    """The answers to requests that come at the same time; an error in place of an answer."""

    async def all_at_once() -> list[Any]:
        batcher = batcher_of(recorder, **limits)
        all_are_there = threading.Event()
        batcher._computing.submit(all_are_there.wait)
        asked = asyncio.gather(*map(batcher.probabilities, requests), return_exceptions=True)
        await asyncio.sleep(0)  # each request goes as far as it can
        all_are_there.set()
        return await asyncio.wait_for(asked, 30)

    return asyncio.run(all_at_once())


def words(count: int) -> str:
    return " ".join(["word"] * count)


def expected(texts: Sequence[str]) -> np.ndarray:
    return np.array([1 / (1 + np.exp(-len(text.split()))) for text in texts])


def test_an_error_of_the_batcher_itself_fails_its_requests_and_no_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    async def one_after_the_other() -> list[Any]:
        batcher = batcher_of(Recorder())
        with monkeypatch.context() as patch:
            patch.setattr(batcher, "_begin", lambda _: 1 / 0)
            first = await asyncio.gather(batcher.probabilities(["word"]), return_exceptions=True)
        return [*first, await batcher.probabilities(["word"])]

    failed, answered = asyncio.run(asyncio.wait_for(one_after_the_other(), 60))
    assert isinstance(failed, InferenceFailed)
    np.testing.assert_allclose(answered[:, 0], expected(["word"]), atol=1e-6)


def test_every_request_gets_its_answers_in_its_order() -> None:
    chance = np.random.default_rng(3)
    requests = [[words(int(length)) for length in chance.integers(1, 40, size)] for size in (1, 7, 3, 20, 1, 1, 13)]
    answers = ask(Recorder(), requests, batch_tokens=64)
    for texts, answer in zip(requests, answers, strict=True):
        np.testing.assert_allclose(answer[:, 0], expected(texts), atol=1e-6)


def test_a_batch_keeps_to_its_tokens_padding_included_unless_one_text_alone_is_longer() -> None:
    recorder = Recorder()
    ask(recorder, [[words(length) for length in (1, 30, 5, 100, 7, 30, 2, 9, 30, 4)]], batch_tokens=64)
    assert sum(recorder.batches, []).count(100) == 1
    for batch in recorder.batches:
        assert len(batch) * max(batch) <= 64 or batch == [100]


def test_waiting_requests_share_a_batch() -> None:
    recorder = Recorder()
    ask(recorder, [[words(3)]] * 10)
    assert recorder.batches == [[3] * 10]


def test_a_batch_has_no_more_padding_than_is_allowed() -> None:
    recorder = Recorder()
    lengths = np.random.default_rng(5).integers(1, 60, 200).tolist()
    ask(recorder, [[words(length) for length in lengths]], batch_padding=0.1)
    assert sorted(sum(recorder.batches, [])) == sorted(lengths)
    for batch in recorder.batches:
        assert 1 - sum(batch) / (len(batch) * max(batch)) <= 0.1


def test_batches_get_smaller_when_the_model_is_slow() -> None:
    recorder = Recorder(token_s=0.002)
    ask(recorder, [[words(5)] * 40], batch_ms=50)
    assert len(recorder.batches[0]) == 40  # nothing is known yet
    ask_again = Recorder(token_s=0.002)

    async def scenario() -> None:
        batcher = batcher_of(ask_again, batch_ms=50)
        await batcher.probabilities([words(5)])
        await batcher.probabilities([words(5)] * 40)

    asyncio.run(scenario())
    assert max(map(len, ask_again.batches)) <= 5


def test_the_oldest_text_is_in_the_next_batch_however_long_it_is() -> None:
    recorder = Recorder()
    ask(recorder, [[words(60), *[words(2)] * 50]], batch_tokens=64)
    assert 60 in recorder.batches[0]


def test_a_text_on_which_the_model_raises_fails_its_own_request_only() -> None:
    recorder = Recorder()
    answers = ask(recorder, [["word"], ["word", "bad word"], ["odd"], ["word word"]], batch_padding=0.9)
    assert [len(batch) for batch in recorder.batches] == [5, 1, 1, 1, 1, 1]
    assert isinstance(answers[1], InferenceFailed)
    assert isinstance(answers[2], InferenceFailed)
    np.testing.assert_allclose(answers[0][:, 0], expected(["word"]), atol=1e-6)
    np.testing.assert_allclose(answers[3][:, 0], expected(["word word"]), atol=1e-6)


def test_a_full_queue_refuses_and_admits_again_when_it_has_emptied() -> None:
    async def scenario() -> list[Any]:
        batcher = batcher_of(Recorder(), waiting=10)
        first = await asyncio.gather(*[batcher.probabilities(["word"] * 4) for _ in range(3)], return_exceptions=True)
        return [*first, await batcher.probabilities(["word"] * 10)]

    answers = asyncio.run(scenario())
    assert [isinstance(answer, Overloaded) for answer in answers] == [False, False, True, False]


def test_texts_of_a_client_that_has_gone_are_not_computed() -> None:
    recorder = Recorder()

    async def scenario() -> None:
        batcher = batcher_of(recorder, batch_tokens=8)
        stays = asyncio.create_task(batcher.probabilities([words(8)] * 3))
        goes = asyncio.create_task(batcher.probabilities([words(7)] * 50))
        while not recorder.batches:
            await asyncio.sleep(0)
        goes.cancel()
        with pytest.raises(asyncio.CancelledError):
            await goes
        await stays
        await batcher.probabilities(["word"])

    asyncio.run(scenario())
    assert len([batch for batch in recorder.batches if batch == [7]]) < 50
    assert recorder.batches.count([8]) == 3


def test_a_lone_batch_goes_to_the_wide_session_and_others_to_streams() -> None:
    narrow, wide = Recorder(token_s=0.02), Recorder(token_s=0.02)

    async def scenario() -> tuple[Any, Any]:
        batcher = batcher_of(narrow, streams=2, wide=wide)
        first = asyncio.create_task(batcher.probabilities([words(3)]))
        while not wide.batches:
            await asyncio.sleep(0.001)
        return await asyncio.gather(first, batcher.probabilities([words(4)]))

    answers = asyncio.run(scenario())
    assert (wide.batches, narrow.batches) == ([[3]], [[4]])
    np.testing.assert_allclose([answer[0, 0] for answer in answers], [1 / (1 + np.exp(-n)) for n in (3, 4)], atol=1e-6)


def fails_to_tokenise(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(_: list[str]) -> None:
        raise ValueError("no tokens")

    monkeypatch.setattr(recorder, "tokenizer", SimpleNamespace(encode_batch_fast=encode))


def fails_to_compute(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "run", lambda _: 1 / 0)


def never_answers(_: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batcher, "_work", lambda *_: None)


@pytest.mark.parametrize(
    ("goes_wrong", "as_tokens"),
    [
        (fails_to_tokenise, False),
        (fails_to_compute, False),
        (fails_to_compute, True),
        (never_answers, False),
        (never_answers, True),
    ],
)
def test_whatever_becomes_of_a_request_its_places_are_free_again(
    goes_wrong: Callable[..., Any], as_tokens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the server would refuse everybody for ever."""
    recorder = Recorder()
    gauge: list[int] = []
    texts = ["word"] * 10
    tokens = recorder.tokenizer.encode_batch(texts)

    async def scenario() -> np.ndarray:
        batcher = batcher_of(recorder, waiting=10)
        monkeypatch.setattr(batcher.metrics, "waiting", gauge.append)
        for _ in range(3):
            with monkeypatch.context() as patch:
                goes_wrong(recorder, patch)
                ask = batcher.logits(tokens) if as_tokens else batcher.probabilities(texts)
                with pytest.raises((ValueError, InferenceFailed, TimeoutError)):
                    await asyncio.wait_for(ask, 0.05 if goes_wrong is never_answers else 30)
            batcher._busy = 0  # of the worker that never worked
        return await batcher.probabilities(texts)

    assert len(asyncio.run(scenario())) == 10
    assert gauge == [10, 0] * 4


@pytest.mark.parametrize(("texts", "refused"), [(3, False), (4, True)])
def test_the_queue_is_full_at_its_limit(texts: int, refused: bool) -> None:
    answers = ask(Recorder(), [["word"] * 7, ["word"] * texts], waiting=10)
    assert isinstance(answers[1], Overloaded) is refused
    if refused:
        assert str(answers[1]).startswith("7 texts are waiting for inference")


def test_the_wait_of_each_request_is_told_once_when_its_first_text_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def scenario() -> None:
        batcher = batcher_of(Recorder(), batch_tokens=8)
        monkeypatch.setattr(batcher.metrics, "waited", waited.append)
        await asyncio.gather(*(batcher.probabilities([words(5)] * texts) for texts in (3, 1, 2)))

    asyncio.run(scenario())
    assert len(waited) == 3
    assert all(0 <= seconds < 30 for seconds in waited)


def test_a_warmed_up_batcher_has_seen_many_shapes_and_knows_its_pace() -> None:
    recorder = Recorder(token_s=1e-7)
    batcher = batcher_of(recorder)
    batcher.warm_up()
    shapes = [(len(batch), batch[0]) for batch in recorder.batches]
    assert shapes == [*WARM_UP, WARM_UP[-1]]
    assert batcher._token_s >= 1e-7


def test_every_session_is_warmed_up() -> None:
    narrow, wide = Recorder(), Recorder()
    batcher_of(narrow, wide=wide).warm_up()
    assert [(len(batch), batch[0]) for batch in wide.batches] == list(WARM_UP)
    assert len(narrow.batches) == len(WARM_UP) + 1


@pytest.mark.parametrize(("characters", "apart"), [(SHORT, False), (SHORT + 1, True)])
def test_long_texts_are_tokenised_apart_from_the_event_loop(
    characters: int, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or no request would be read or answered meanwhile."""
    recorder, threads = Recorder(), []
    encode = recorder.tokenizer.encode_batch_fast

    def noting(texts: list[str]) -> Any:
        threads.append(threading.current_thread() is not threading.main_thread())
        return encode(texts)

    monkeypatch.setattr(recorder, "tokenizer", SimpleNamespace(encode_batch_fast=noting))
    (answer,) = ask(recorder, [["a" * (characters - 3), "a b"]])
    np.testing.assert_allclose(answer[:, 0], expected(["a", "a b"]), atol=1e-6)
    assert threads == [apart]


@pytest.mark.parametrize(("batch_ms", "texts"), [(8.0, 2), (7.9, 1), (3.0, 1), (1000.0, 5)])
def test_a_batch_has_as_many_tokens_as_its_time_allows_and_one_text_at_least(batch_ms: float, texts: int) -> None:
    recorder = Recorder()

    async def scenario() -> None:
        batcher = batcher_of(recorder, batch_ms=batch_ms)
        batcher._token_s = 0.001
        await batcher.probabilities([words(4)] * 5)

    asyncio.run(scenario())
    assert recorder.batches[0] == [4] * texts


def test_the_time_per_token_follows_the_latest_batches_padding_included(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, clock, paces = Recorder(), iter([0.0, 0.4, 1.0, 1.8, 2.0, 2.8]), []
    monkeypatch.setattr(Batcher, "_begin", lambda *_: None)  # it reads the clock too
    monkeypatch.setattr(batcher, "time", SimpleNamespace(perf_counter=lambda: next(clock)))

    async def scenario() -> None:
        one = batcher_of(recorder, batch_ms=10_000, batch_padding=0.5)
        for texts in ([words(4)], [words(4)], [words(2), words(4)]):
            await one.probabilities(texts)
            paces.append(one._token_s)

    asyncio.run(scenario())
    assert recorder.batches == [[4], [4], [2, 4]]
    assert paces == pytest.approx([0.1, 0.8 * 0.1 + 0.2 * 0.2, 0.8 * 0.12 + 0.2 * 0.1])
