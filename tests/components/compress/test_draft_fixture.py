"""The draft bundle that other steps' tests start from is a real classifier of the small dataset."""

from pathlib import Path

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.onnx_classifier import Classifier


def test_the_draft_bundle_knows_the_topics(draft_bundle: Path, small_dataset: TextDataset) -> None:
    classifier = Classifier(draft_bundle, threads=1)
    predicted = classifier.logits(small_dataset.texts("test")).argmax(axis=1)
    assert classifier.labels == small_dataset.labels
    assert (predicted == small_dataset.label_ids("test")).mean() > 0.9
