"""The model card of a bundle, for people who want to use the model. The same draft and results give the same card."""

from collections.abc import Mapping, Sequence

from slipway.components.artifacts.bundle import BundleInfo
from slipway.components.compress.result import CompressResult
from slipway.components.evaluate.result import EvaluateResult
from slipway.components.prepare_data.result import PrepareDataResult
from slipway.components.step_runtime.step_result import Results, number
from slipway.components.train.result import TrainResult

VERIFY = "python -m model_signing verify key --signature BUNDLE/signature.json --public_key public.pem BUNDLE"


def model_card(info: BundleInfo, results: Results, identity: str) -> str:
    """Write the model card as Markdown. The sections follow Mitchell et al. 2019, *Model cards for model reporting*.

    Args:
        info: the content of `bundle.json`.
        results: of the steps so far; parts without a result are left out.
        identity: fingerprint of the signer's public key.
    """
    parts = [
        *_purpose(info),
        *_data(info, PrepareDataResult.found_in(results)),
        *_training(info, TrainResult.found_in(results)),
        *_privacy(info),
        *_compression(info, CompressResult.found_in(results)),
        *_test(EvaluateResult.found_in(results)),
        *_limits(info),
        *_signature(identity),
    ]
    return "\n\n".join(parts) + "\n"


def _purpose(info: BundleInfo) -> list[str]:
    labels = "\n".join(f"- {label}" for label in info.labels)
    return [
        f"# {info.model_name}",
        f"Sorts short texts into {len(info.labels)} topics and says how sure it is. Variant `{info.variant}`, "
        f"{info.precision}, made from the encoder `{info.encoder}`; served over KServe's V2 protocol.",
        f"## Labels\n\n{labels}",
    ]


def _data(info: BundleInfo, result: PrepareDataResult | None) -> list[str]:
    facts = {
        "Source": result.source if result else None,
        "Rows read": result.rows_read if result else None,
        "Texts kept": result.rows_kept if result else None,
    }
    return ["## Data", _list(facts | {"Dataset digest": f"`{info.dataset_digest}`"})]


def _training(info: BundleInfo, result: TrainResult | None) -> list[str]:
    facts = {
        "Encoder": f"`{info.encoder}`",
        "Longest text": f"{info.max_length} tokens; the rest is cut off{_cut(result)}",
        "Parameters before compression": f"{result.parameters:,}" if result else None,
        "Epochs": f"{result.epochs}, best {result.best_epoch}" if result else None,
        "Validation macro-F1": f"{result.validation.macro_f1:.3f}" if result else None,
        **{
            f"Validation macro-F1 of the baseline {baseline.name}": f"{baseline.macro_f1:.3f}"
            for baseline in (result.baselines if result else [])
        },
        "MLflow run": f"`{info.mlflow_run_id}`" if info.mlflow_run_id else None,
        "Pipeline run": f"`{info.run}`" if info.run else None,
        "Code version": f"`{info.code_version}`",
    }
    return ["## Training", _list(facts)]


def _cut(result: TrainResult | None) -> str:
    """How many texts of the data are longer than the model reads."""
    if not result or not result.texts_read:
        return ""
    return f", as it was in {sum(result.texts_cut.values()):,} of {sum(result.texts_read.values()):,} texts of the data"


def _privacy(info: BundleInfo) -> list[str]:
    privacy = info.privacy
    if privacy is None:
        return []
    facts = {
        "ε of all planned updates": f"{privacy.epsilon:.3f}",
        "ε of the updates that were made": f"{privacy.epsilon_spent:.3f}",
        "δ": f"{privacy.delta:.2e}",
        "Unit": privacy.unit,
        "Noise multiplier": f"{privacy.noise_multiplier:.4f}",
        "Sampling rate": f"{privacy.sampling_rate:.5f}",
        "Norm of a text's gradient at most": f"{privacy.gradient_norm:g}",
        "Updates": f"{privacy.updates} of {privacy.updates_planned}",
        "Accountant": privacy.accountant,
    }
    return [
        "## Privacy of the training texts",
        "Fine-tuned by DP-SGD (Abadi et al. 2016, *Deep learning with differential privacy*).",
        _list(facts),
        "The guarantee covers these weights, and no more: not the texts of the validation and test splits, nor figures "
        "computed from training texts (the training curve, how well training texts are recognised), nor settings that "
        "somebody chose after looking at the data or at earlier trainings, nor the encoder's own pretraining. Who "
        "wrote several texts is protected less. Each further model trained on the same texts adds its own ε.",
    ]


def _compression(info: BundleInfo, result: CompressResult | None) -> list[str]:
    parts = ["## Compression", f"Chosen: `{info.variant}`."]
    latency = ", ".join(f"{value:.1f} ms at batch {size}" for size, value in info.latency_ms.items())
    if latency:
        parts.append(f"Median latency on the machine that compressed it: {latency}.")
    if result and (calibration := result.calibration):
        parts.append(
            f"Its logits are divided by the temperature {calibration.temperature:.3f}, fitted on the validation split: "
            f"expected calibration error {calibration.error_before:.3f} before, {calibration.error:.3f} after "
            f"({calibration.error_by_chance:.3f} by chance alone)."
        )
    if result:
        rows = [
            [
                item.name,
                f"{item.macro_f1:.3f}",
                f"{item.accuracy:.3f}",
                f"{item.size_bytes / 1e6:.1f}",
                *(f"{item.latency_ms[size]:.1f}" for size in info.latency_ms if size in item.latency_ms),
            ]
            for item in result.candidates
        ]
        headers = [
            "Variant",
            "Validation macro-F1",
            "Accuracy",
            "MB",
            *(f"ms at batch {size}" for size in info.latency_ms),
        ]
        parts.append(_table(headers, rows))
    return parts


def _test(result: EvaluateResult | None) -> list[str]:
    if not result:
        return ["## Test", "It was not evaluated."]
    scores, champion, intervals = result.challenger, result.champion, result.intervals
    confidence, typo_rate = (number(result.settings, name) for name in ("confidence", "typo_rate"))
    facts = {
        name: f"{score.value:.3f} ({confidence:.0%} interval {score.low:.3f} to {score.high:.3f})"
        for name, score in (("Macro-F1", intervals.macro_f1), ("Accuracy", intervals.accuracy))
    }
    facts["Expected calibration error"] = f"{scores.calibration_error:.3f}"
    if scores.calibration_error_by_chance is not None:
        facts["Expected calibration error"] += f" ({scores.calibration_error_by_chance:.3f} by chance alone)"
    if scores.calibration_error_unscaled is not None:
        facts["Expected calibration error without the temperature"] = f"{scores.calibration_error_unscaled:.3f}"
    facts["Macro-F1 with typing errors"] = f"{scores.typos.macro_f1:.3f} (errors in {typo_rate:.0%} of the words)"
    if members := result.membership:
        facts["Recognition of training texts"] = (
            f"area under the curve {members.auc:.3f} by their loss (0.5 is guessing); "
            f"{members.found_at_1_percent:.1%} are found when 1 % of other texts are accused"
        )
    if champion and result.difference:
        change = result.difference.macro_f1.value
        facts["Compared with"] = f"version {champion.version}, {change:+.3f} macro-F1"
    if (best := result.best) and best.drop is not None:
        facts["Below the best version so far"] = (
            f"{best.drop:+.3f} macro-F1 (version {best.version}, {best.macro_f1:.3f})"
        )
    rows = [
        [item.label, *(f"{getattr(item, name):.3f}" for name in ("precision", "recall", "f1")), str(item.support)]
        for item in scores.classes
    ]
    return [
        f"## Test\n\nOn {result.texts} texts that no step trained on or chose by.",
        _list(facts),
        _table(["Class", "Precision", "Recall", "F1", "Texts"], rows),
        "### Quality gate",
        "\n".join(f"- {'passed' if check.passed else 'failed'}: {check.words}" for check in result.gate.checks),
    ]


def _limits(info: BundleInfo) -> list[str]:
    return [
        "## Limits",
        "- Every text gets one of the labels above, also one that fits none of them: look at the score.\n"
        "- The scores hold for texts like those of the data, in their language; measure again on others.\n"
        f"- Words after the first {info.max_length} tokens are not read.\n"
        "- Typing errors, irony and two topics in one text lower the quality.\n"
        "- It was not examined for unequal quality between groups of writers; not for decisions about people.",
    ]


def _signature(identity: str) -> list[str]:
    return [
        "## Signature",
        f"`signature.json` covers every other file (OpenSSF model-signing). Signer: `{identity}`.",
        "Servers verify it before they load the model. By hand, with the signer's public key:",
        f"```\npip install model-signing pyOpenSSL\n{VERIFY}\n```",
    ]


def _list(facts: Mapping[str, object]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items() if value is not None)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)
