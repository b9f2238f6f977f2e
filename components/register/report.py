"""The section of the run's report about the step `register`."""

from html import escape

from slipway.components.register.result import RegisterResult
from slipway.components.step_runtime import html


def section(result: RegisterResult) -> str:
    """HTML fragment: the version, its lineage, the bundle's files and the model card."""
    facts = {
        "Version": result.version,
        "Bundle": f"{result.size_bytes / 1e6:.1f} MB",
        "Digest": _short(result.digest),
        "Signed by": _short(result.identity),
    }
    lineage = [[name.replace("_", " "), value] for name, value in sorted(result.tags.items())]
    files = [[name, f"{size:,} bytes"] for name, size in result.files.items()]
    return "\n".join(
        [
            html.heading("Registry"),
            html.notice(_outcome(result), "good"),
            html.facts(facts),
            html.paragraph(f"Stored in {result.bundle_uri}"),
            html.details("Lineage: the version's tags in MLflow", html.table(["Tag", "Value"], lineage)),
            html.details("Files of the bundle", html.table(["File", "Size"], files)),
            html.details("Model card", f"<pre>{escape(result.model_card)}</pre>"),
        ]
    )


def _outcome(result: RegisterResult) -> str:
    version = result.version
    if result.is_champion:
        return f"This model is the champion, version {version}; nothing new was registered."
    if result.new:
        return f"The bundle is signed, stored and registered as version {version}, the challenger."
    return f"The same draft was registered before, as version {version}; it is the challenger again."


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
