"""Roll one signed bundle out, without the steps before: `python -m slipway.pipelines.local_rollout RUN BUNDLE
[DATASET]`.
"""

import sys
from pathlib import Path

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.errors import BadInput
from slipway.components.register.step import adopt
from slipway.components.rollout import report, step
from slipway.components.rollout.request import RolloutRequest
from slipway.components.step_runtime import step_context
from slipway.pipelines.home import Places
from slipway.pipelines.local_run import SETTINGS, exclusive
from slipway.pipelines.settings import SlipwaySettings


def dataset_of(bundle: Path, places: Places) -> Path:
    """Find the dataset folder that a bundle was made from, among the artifacts of earlier runs in this home folder.

    Raises:
        BadInput: it is not there.
    """
    digest = Bundle(bundle).info.dataset_digest
    for record in sorted((places.home / "artifacts").rglob("dataset.json"), reverse=True):
        if TextDataset(record.parent).digest == digest:
            return record.parent
    raise BadInput(f"the dataset of {bundle} ({digest}) is not in {places.home}; give one with --dataset")


def main(folder: Path, bundle: Path, dataset: Path | None) -> None:
    """Verify and register the bundle, then run the step `rollout`.

    Args:
        folder: of the run, with its settings.
        bundle: folder of the signed bundle.
        dataset: dataset folder with the probes; None for the dataset that the bundle was made from.
    """
    places = Places.here()
    settings = SlipwaySettings.model_validate_json((folder / SETTINGS).read_text("utf-8"))
    with (
        exclusive(places, folder.name),
        step_context.running("rollout", {}, str(folder / "rollout.html")) as current,
    ):
        probes = dataset or dataset_of(bundle, places)
        version = adopt(bundle, settings.registry, settings.tracking_uri, settings.model_name)
        result = step.run(
            RolloutRequest(
                version=version.version,
                bundle_uri=version.bundle_uri,
                digest=version.digest,
                dataset=probes,
                settings=settings.rollout,
                floor=settings.evaluate.min_macro_f1,
                tracking_uri=settings.tracking_uri,
                model_name=settings.model_name,
                service=places.service,
                public_key=Path(settings.registry.keys) / "public.pem",
                target=settings.target,
                cluster=settings.cluster,
            )
        )
        current.finish(result, report.section(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
