"""The step register with real bundles, a real MLflow registry and real stores."""

import json
import shutil
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from slipway.components.artifacts import signing
from slipway.components.artifacts.bundle import (
    CARD,
    DRAFT_FILES,
    INFO,
    MODEL,
    SIGNATURE,
    Bundle,
    updated_info,
    write_info,
)
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.artifacts.privacy_guarantee import Privacy
from slipway.components.errors import BadInput, BundleRefused, GateRefused
from slipway.components.evaluate import step as evaluate
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.platforms import storage
from slipway.components.platforms.model_registry import Registry, labels_digest
from slipway.components.register import report, step
from slipway.components.register.result import RegisterResult
from slipway.components.register.settings import RegistrySettings
from tests.components import step_results
from tests.local import bad_bundles


class Place:
    """A home of its own for each test: keys, store and registry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tracking_uri = f"sqlite:///{folder}/mlflow.db"
        self.settings = RegistrySettings(store=str(folder / "bundles"), keys=str(folder / "keys"))
        self.registry = Registry(self.tracking_uri, "topics")

    @property
    def public_key(self) -> Path:
        return self.folder / "keys" / "public.pem"

    def register(self, draft: Path, results: dict[str, Any], run: str = "run-1") -> RegisterResult:
        return step.run(draft, results, self.settings, self.tracking_uri, "topics", run)


@pytest.fixture(scope="session")
def fresh_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Place(tmp_path_factory.mktemp("registry")).folder / "mlflow.db"


@pytest.fixture
def place(fresh_registry: Path, tmp_path: Path) -> Place:
    shutil.copy(fresh_registry, tmp_path / "mlflow.db")
    return Place(tmp_path)


@pytest.fixture(scope="session")
def results(
    draft_bundle: Path, small_dataset: TextDataset, fresh_registry: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the steps before reported."""
    settings = EvaluateSettings(bootstrap_samples=200)
    registry, no_key = f"sqlite:///{fresh_registry}", Path("no-champion-no-key.pem")
    found = evaluate.run(draft_bundle, small_dataset.folder, settings, registry, "topics", no_key)
    measured = {"macro_f1": 0.97, "accuracy": 0.98, "size_bytes": 2_500_000, "latency_ms": {"1": 1.5}}
    compressed = step_results.compress()
    prepared = step_results.prepare_data(["billing", "delivery"], tmp_path_factory.mktemp("prepared"))
    row = compressed["teacher"] | measured
    return {
        "prepare_data": prepared | {"source": "messages.csv", "rows_read": 300, "rows_kept": 204},
        "train": step_results.train() | {"epochs": 4, "best_epoch": 3, "parameters": 1234},
        "compress": compressed | {"candidates": [row], "chosen": "teacher", "teacher": row},
        "evaluate": found.to_json(),
    }


def test_a_draft_becomes_a_signed_stored_registered_challenger(
    place: Place, draft_bundle: Path, results: dict[str, Any]
) -> None:
    result = place.register(draft_bundle, results)
    challenger = place.registry.challenger()
    assert challenger is not None
    assert (challenger.version, challenger.bundle_uri, challenger.digest) == (
        result.version,
        result.bundle_uri,
        result.digest,
    )
    stored = Path(result.bundle_uri)
    assert sorted(path.name for path in stored.iterdir()) == sorted([*DRAFT_FILES, CARD, SIGNATURE])
    assert stored.relative_to(place.settings.store).parts[0] == "topics"
    signing.verify(stored, place.public_key)
    assert Bundle(stored).digest() == result.digest
    json.dumps(result.to_json(), allow_nan=False)


def test_the_stored_bundle_answers_like_the_draft(place: Place, draft_bundle: Path, results: dict[str, Any]) -> None:
    result = place.register(draft_bundle, results)
    text = ["the courier was late"]
    one, other = Classifier(draft_bundle), Classifier(result.bundle_uri)
    assert (one.probabilities(text) == other.probabilities(text)).all()


def test_the_version_leads_back_to_data_code_run_and_signer(
    place: Place, draft_bundle: Path, results: dict[str, Any]
) -> None:
    result = place.register(draft_bundle, results)
    tags, info = place.registry.version(result.version).tags, Bundle(draft_bundle).info
    assert tags["dataset_digest"] == info.dataset_digest
    assert tags["code_version"] == info.code_version
    assert tags["mlflow_run_id"] == info.mlflow_run_id
    assert tags["labels_digest"] == labels_digest(info.labels[::-1])
    assert tags["variant"] == "teacher"
    assert tags["run"] == "run-1"
    assert tags["signer"] == signing.identity(place.public_key) == result.identity
    assert tags["draft_digest"] == Bundle(draft_bundle).digest()
    assert float(tags["test_macro_f1"]) == pytest.approx(results["evaluate"]["challenger"]["macro_f1"], abs=1e-6)


def test_bundle_json_has_the_test_scores_and_the_run(place: Place, draft_bundle: Path, results: dict[str, Any]) -> None:
    info = Bundle(place.register(draft_bundle, results).bundle_uri).info
    assert (info.run, info.model_name) == ("run-1", "topics")
    assert set(info.metrics) == {"test_accuracy", "test_macro_f1", "test_calibration_error", "test_typo_macro_f1"}
    assert Bundle(draft_bundle).info.run == ""


def test_the_model_card_tells_what_a_user_must_know(place: Place, draft_bundle: Path, results: dict[str, Any]) -> None:
    result = place.register(draft_bundle, results)
    card = (Path(result.bundle_uri) / CARD).read_text()
    for text in (
        "- billing\n- delivery\n- account",
        "Source: messages.csv",
        "Epochs: 4, best 3",
        "| teacher | 0.970 | 0.980 | 2.5 |",
        "| billing | 1.000 |",
        "passed: macro-F1 1.000 reaches the floor",
        f"Signer: `{result.identity}`",
        "python -m model_signing verify key",
        "Words after the first 32 tokens are not read",
    ):
        assert text in card
    page = report.section(result)
    assert "registered as version 1, the challenger" in page
    assert result.bundle_uri in page


def test_the_same_draft_again_keeps_its_version(place: Place, draft_bundle: Path, results: dict[str, Any]) -> None:
    first = place.register(draft_bundle, results)
    second = place.register(draft_bundle, results, run="run-2")
    assert second.version == first.version
    assert (first.new, second.new) == (True, False)
    assert second.digest == first.digest
    assert "registered before, as version 1" in report.section(second)


def test_a_rejected_draft_becomes_the_challenger_again(
    place: Place, draft_bundle: Path, results: dict[str, Any]
) -> None:
    version = place.register(draft_bundle, results).version
    place.registry.reject(version, "slow")
    place.register(draft_bundle, results)
    challenger = place.registry.challenger()
    assert challenger is not None
    assert challenger.version == version


def test_the_draft_of_the_champion_stays_champion(place: Place, draft_bundle: Path, results: dict[str, Any]) -> None:
    place.registry.promote(place.register(draft_bundle, results).version)
    result = place.register(draft_bundle, results)
    assert result.is_champion
    assert place.registry.challenger() is None
    assert "is the champion, version 1" in report.section(result)


def test_a_draft_that_is_identical_to_the_champion_is_not_registered_twice(
    place: Place, draft_bundle: Path, results: dict[str, Any], tmp_path: Path
) -> None:
    """It may differ in what it tells of itself: latencies are measured anew each time."""
    place.registry.promote(place.register(draft_bundle, results).version)
    draft = Path(shutil.copytree(draft_bundle, tmp_path / "again"))
    info = json.loads((draft / INFO).read_text())
    (draft / INFO).write_text(json.dumps(info | {"latency_ms": {"1": 9.9}}))
    identical = results | {"evaluate": results["evaluate"] | {"identical_to_champion": "1"}}
    result = place.register(draft, identical)
    assert (result.version, result.is_champion, result.new) == ("1", True, False)


@pytest.mark.parametrize("loss", ["gone", "altered", "other key"])
def test_a_version_whose_bundle_is_lost_is_not_used_again(
    place: Place, draft_bundle: Path, results: dict[str, Any], loss: str
) -> None:
    first = place.register(draft_bundle, results)
    if loss == "gone":
        shutil.rmtree(first.bundle_uri)
    elif loss == "altered":
        with (Path(first.bundle_uri) / MODEL).open("ab") as file:
            file.write(b"\0")
    else:
        shutil.rmtree(place.settings.keys)
    second = place.register(draft_bundle, results)
    assert second.version == "2"
    signing.verify(Path(second.bundle_uri), place.public_key)


def test_a_register_that_died_before_the_registry_is_completed_by_the_next(
    place: Place, draft_bundle: Path, results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Registry, "register", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            place.register(draft_bundle, results)
    result = place.register(draft_bundle, results)
    assert result.version == "1"
    assert len(list((Path(place.settings.store) / "topics").iterdir())) == 1
    signing.verify(Path(result.bundle_uri), place.public_key)


def test_a_tampered_stored_bundle_is_refused(place: Place, draft_bundle: Path, results: dict[str, Any]) -> None:
    stored = Path(place.register(draft_bundle, results).bundle_uri)
    card = stored / CARD
    card.write_text(card.read_text().replace("1.000", "0.999"))
    with pytest.raises(BundleRefused, match="model-card.md was altered"):
        signing.verify(stored, place.public_key)


def test_a_draft_that_the_gate_refused_is_not_registered(
    place: Place, draft_bundle: Path, results: dict[str, Any]
) -> None:
    gate = {"passed": False, "reasons": ["macro-F1 is too low"], "checks": []}
    with pytest.raises(GateRefused, match="nothing is registered: macro-F1 is too low"):
        place.register(draft_bundle, results | {"evaluate": results["evaluate"] | {"gate": gate}})
    assert place.registry.challenger() is None
    assert not Path(place.settings.store).exists()


def test_a_draft_can_be_registered_without_any_results(place: Place, draft_bundle: Path) -> None:
    result = place.register(draft_bundle, {})
    assert "It was not evaluated." in result.model_card


def test_a_draft_that_is_no_bundle_is_named(place: Place, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not a bundle"):
        place.register(tmp_path, {})


def test_a_store_is_needed(place: Place, draft_bundle: Path) -> None:
    place.settings = RegistrySettings(keys=place.settings.keys)
    with pytest.raises(BadInput, match=r"registry\.store is empty"):
        place.register(draft_bundle, {})


def test_a_bundle_in_s3_is_registered_found_and_verified(
    place: Place, draft_bundle: Path, results: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="models")
        key = boto3.client("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
        names = {"store": "s3://models/slipway", "signing_key": f"awskms:///{key}", "keys": place.settings.keys}
        place.settings = RegistrySettings.model_validate(names)
        first = place.register(draft_bundle, results)
        assert first.bundle_uri.startswith("s3://models/slipway/topics/")
        assert place.register(draft_bundle, results).version == first.version
        storage.download_folder(first.bundle_uri, tmp_path / "fetched")
    finally:
        server.stop()
    signing.verify(tmp_path / "fetched", place.public_key)
    assert not (place.public_key.parent / "private.pem").exists()


def test_card_and_tags_tell_the_privacy_of_the_training_texts(
    place: Place, draft_bundle: Path, results: dict[str, Any], tmp_path: Path
) -> None:
    privacy = Privacy(
        epsilon=2.9912,
        epsilon_spent=2.1,
        delta=0.0004,
        noise_multiplier=0.9,
        sampling_rate=0.1,
        gradient_norm=1.0,
        updates=20,
        updates_planned=30,
        accountant="RDP (Opacus)",
    )
    draft = Path(shutil.copytree(draft_bundle, tmp_path / "private"))
    write_info(draft, updated_info(Bundle(draft).info, privacy=privacy.model_dump()))
    result = place.register(draft, results)
    for text in (
        "## Privacy of the training texts",
        "- ε of all planned updates: 2.991\n- ε of the updates that were made: 2.100\n- δ: 4.00e-04",
        "- Updates: 20 of 30\n- Accountant: RDP (Opacus)",
        "not the texts of the validation and test splits",
    ):
        assert text in result.model_card
    assert (result.tags["privacy_epsilon"], result.tags["privacy_delta"]) == ("2.991200", "4.000e-04")
    other = place.register(draft_bundle, results)
    assert "Privacy" not in other.model_card
    assert "privacy_epsilon" not in other.tags


def test_a_bundle_that_is_brought_is_stored_within_the_rollout(
    draft_bundle: Path, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = signing.key_pair(Path(place.settings.keys))
    brought = bad_bundles.signed_copy(draft_bundle, tmp_path / "brought", keys.private_key)
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setenv("SLIPWAY_RUN", str(run))

    version = step.adopt(brought, place.settings, place.tracking_uri, Bundle(brought).info.model_name)

    assert Bundle(version.bundle_uri).digest() == version.digest == Bundle(brought).digest()
    events = [json.loads(line) for line in (run / "progress.jsonl").read_text("utf-8").splitlines()]
    assert {event["step"] for event in events} == {"rollout"}
