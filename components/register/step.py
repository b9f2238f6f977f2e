"""Entry point of the step `register`: complete, sign and store a draft, and register it as the challenger."""

import shutil
import tempfile
from pathlib import Path

from slipway.components.artifacts import signing
from slipway.components.artifacts.bundle import CARD, DRAFT_FILES, Bundle, BundleInfo, updated_info, write_info
from slipway.components.artifacts.encryption import BundleKey, encrypt, key_of
from slipway.components.artifacts.signing import Signer
from slipway.components.errors import BadInput, BundleRefused, GateRefused
from slipway.components.evaluate.result import EvaluateResult
from slipway.components.platforms import storage
from slipway.components.platforms.model_registry import DATASET, LABELS, TEST_MACRO_F1, Registry, Version, labels_digest
from slipway.components.register.card import model_card
from slipway.components.register.result import RegisterResult
from slipway.components.register.settings import RegistrySettings
from slipway.components.register.signing_job import signer_of
from slipway.components.step_runtime import progress
from slipway.components.step_runtime.step_result import Results


def run(
    draft: Path,
    results: Results,
    settings: RegistrySettings,
    tracking_uri: str,
    model_name: str,
    run: str,
) -> RegisterResult:
    """Make a signed and stored bundle from a draft, and register it as the challenger.

    A draft that is registered already keeps its version, if its stored bundle is intact and signed by the present key.

    Args:
        draft: folder of the draft bundle; it is not changed.
        results: of the steps so far, for the model card and the tags.
        settings: store and keys of bundles.
        tracking_uri: MLflow tracking server with the registry.
        model_name: name of the registered model.
        run: name of the pipeline run.

    Raises:
        BadInput: draft, keys, store or registry cannot be used.
        GateRefused: the step evaluate refused the draft.
    """
    evaluation = EvaluateResult.found_in(results)
    if evaluation and not evaluation.gate.passed:
        raise GateRefused(f"nothing is registered: {'; '.join(evaluation.gate.reasons)}")
    draft_bundle = Bundle(draft)
    keys = signer_of(settings.keys, settings.signing_key)
    registry = Registry(tracking_uri, model_name)
    with tempfile.TemporaryDirectory() as work:
        bundle = Path(work) / "bundle"
        encryption_key = _encryption_key(settings)
        identical = evaluation.identical_to_champion if evaluation else None
        version = _registered(registry, draft_bundle, identical, (keys, encryption_key), bundle)
        new = version is None
        if version is None:
            shutil.rmtree(bundle, ignore_errors=True)
            _write(draft_bundle, bundle, results, (model_name, run), (keys, encryption_key))
            version = store_and_register(
                registry, bundle, settings, signing.identity(keys.public_key), draft_bundle.digest()
            )
        else:
            registry.nominate(version)
        files = {path.name: path.stat().st_size for path in sorted(bundle.iterdir())}
        card = (bundle / CARD).read_text("utf-8")
    champion = registry.champion()
    progress.report("register", f"version {version.version} {'is registered' if new else 'was registered before'}")
    return RegisterResult(
        version=version.version,
        bundle_uri=version.bundle_uri,
        digest=version.digest,
        identity=signing.identity(keys.public_key),
        new=new,
        is_champion=champion is not None and champion.version == version.version,
        size_bytes=sum(files.values()),
        files=files,
        tags=version.tags,
        model_card=card,
    )


def _registered(
    registry: Registry, draft: Bundle, identical: str | None, keys: tuple[Signer, BundleKey | None], folder: Path
) -> Version | None:
    """The version that has this draft already, or the identical champion; None when a new version must be made.

    Its bundle must be in the store, intact, signed by the present key and encrypted as the present settings say. The
    bundle is then in `folder`.

    Args:
        registry: of the model.
        draft: to be registered.
        identical: version of the champion that is identical to the draft; None when it is not.
        keys: signer, and key of encryption if bundles are encrypted.
        folder: gets the bundle.
    """
    signer, encryption_key = keys
    known = registry.version(identical) if identical else registry.find("draft_digest", draft.digest())
    if known is None:
        return None
    try:
        storage.download_folder(known.bundle_uri, folder)
        signing.verify(folder, signer.public_key)
        bundle = Bundle(folder, encryption_key)
        intact = bundle.digest() == known.digest and bundle.encrypted == (encryption_key is not None)
        intact = intact and bundle.info.labels == draft.info.labels  # reads the info, so the key must open the bundle
    except (BadInput, BundleRefused) as error:
        progress.report("register", f"version {known.version} of this draft is no longer of use: {error}")
        return None
    return known if intact else None


def _encryption_key(settings: RegistrySettings) -> BundleKey | None:
    return key_of(settings.encryption_key) if settings.encryption_key else None


def _write(
    draft: Bundle,
    bundle: Path,
    results: Results,
    names: tuple[str, str],
    keys: tuple[Signer, BundleKey | None],
) -> None:
    """Complete the draft in another folder, encrypt it if there is a key, sign it, and verify the signature.

    Args:
        draft: is not changed.
        bundle: folder to write.
        results: of the steps so far.
        names: of the model and of the run.
        keys: signer, and key of encryption or None.
    """
    signer, encryption_key = keys
    bundle.mkdir(parents=True)
    for name in DRAFT_FILES:
        shutil.copyfile(draft.folder / name, bundle / name)
    metrics = draft.info.metrics | _test_metrics(EvaluateResult.found_in(results))
    model_name, run = names
    info = updated_info(draft.info, model_name=model_name, run=run, metrics=metrics)
    write_info(bundle, info)
    card = model_card(info, results, signing.identity(signer.public_key))
    (bundle / CARD).write_text(card, "utf-8")
    if encryption_key:
        encrypt(bundle, DRAFT_FILES, encryption_key)
    signer.sign(bundle)
    signing.verify(bundle, signer.public_key)


def _test_metrics(evaluation: EvaluateResult | None) -> dict[str, float]:
    if evaluation is None:
        return {}
    scores = evaluation.challenger
    return {
        "test_accuracy": scores.accuracy,
        TEST_MACRO_F1: scores.macro_f1,
        "test_calibration_error": scores.calibration_error,
        "test_typo_macro_f1": scores.typos.macro_f1,
    }


def store_and_register(
    registry: Registry,
    bundle: Path,
    settings: RegistrySettings,
    signer: str,
    draft_digest: str = "",
    within: str = "register",
) -> Version:
    """Store a signed bundle, then register it as the challenger. In this order no version ever lacks its bundle.

    Args:
        registry: of the model.
        bundle: folder of the signed bundle.
        settings: with the store.
        signer: fingerprint of the signer's public key.
        draft_digest: digest of the draft; empty for a bundle without one.
        within: the step that reports progress.

    Raises:
        BadInput: the store or the registry cannot be used.
    """
    if not settings.store:
        raise BadInput("registry.store is empty; give a folder or s3://bucket/prefix for the bundles")
    opened_bundle = Bundle(bundle, _encryption_key(settings))
    digest = opened_bundle.digest()
    uri = f"{settings.store.rstrip('/')}/{registry.model_name}/{digest.removeprefix('sha256:')[:16]}"
    progress.report(within, f"storing {digest} in {uri}")
    storage.upload_folder(bundle, uri)
    info = opened_bundle.info
    tags = {
        "draft_digest": draft_digest,
        DATASET: info.dataset_digest,
        LABELS: labels_digest(info.labels),
        "code_version": info.code_version,
        "run": info.run,
        "mlflow_run_id": info.mlflow_run_id,
        "signer": signer,
        "encoder": info.encoder,
        "variant": info.variant,
        **{name: f"{value:.6f}" for name, value in info.metrics.items()},
        **_privacy_tags(info),
    }
    return registry.register(uri, digest, {name: value for name, value in tags.items() if value})


def _privacy_tags(info: BundleInfo) -> dict[str, str]:
    if info.privacy is None:
        return {}
    return {"privacy_epsilon": f"{info.privacy.epsilon:.6f}", "privacy_delta": f"{info.privacy.delta:.3e}"}


def adopt(bundle: Path, settings: RegistrySettings, tracking_uri: str, model_name: str) -> Version:
    """Register a signed bundle from elsewhere as the challenger. One that is registered already keeps its version.

    Args:
        bundle: folder of the bundle.
        settings: store and keys of bundles.
        tracking_uri: MLflow tracking server with the registry.
        model_name: name of the registered model.

    Raises:
        BundleRefused: the bundle is altered, or not signed by the key in `settings.keys`.
        BadInput: the folder is no bundle, or a bundle of another model; or store or registry cannot be used.
    """
    opened_bundle = Bundle(bundle, _encryption_key(settings))
    if opened_bundle.info.model_name != model_name:
        raise BadInput(
            f"{bundle} is a bundle of model {opened_bundle.info.model_name!r}, but model_name is {model_name!r}"
        )
    public_key = signer_of(settings.keys, settings.signing_key).public_key
    signing.verify(bundle, public_key)
    registry = Registry(tracking_uri, model_name)
    known = registry.find("digest", opened_bundle.digest())
    if known is None:
        return store_and_register(registry, bundle, settings, signing.identity(public_key), within="rollout")
    registry.nominate(known)
    return known
