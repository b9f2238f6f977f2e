"""The programs in the pods of a PyTorchJob. They read from the store and write to it, since pods share no disk.

    python -m slipway.components.train.remote pod
        the container's program: downloads configuration and data, then becomes torchrun
    python -m slipway.components.train.remote worker
        one worker process under torchrun: runs `slipway.components.train.worker`, and resumes from the newest
        checkpoint in the store

The store of one training (environment variable SLIPWAY_STORE) holds:

    dataset/ encoder/                 the encoder only when it is a folder of the launcher's machine
    checkpoints/NAME/                 checkpoint NAME, best.pt and mlflow.json as they were when it was written
    newest/newest.json                the name of the last checkpoint that is complete
    launches/LAUNCH/{config,output,result}/     files of one PyTorchJob (SLIPWAY_LAUNCH)
"""

import json
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from slipway.components.artifacts.encoder import encoder_folder, is_stored
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.machine.home import HOME
from slipway.components.platforms import authority, storage
from slipway.components.step_runtime import progress
from slipway.components.train.config import WorkerConfig

WORKSPACE = Path("/workspace")
DATASET, ENCODER = WORKSPACE / "dataset", WORKSPACE / "encoder"
CONFIG, OUTPUT, RESULT = "train.json", "output", "result.json"
NEWEST = "newest.json"
CARRIED = ("best.pt", "mlflow.json")
"""Files that a resumed training needs beside the checkpoint itself."""

TERMINATION_LOG = Path("/dev/termination-log")
"""Kubernetes shows the content of this file as the reason why the container ended."""

MESSAGE_LIMIT = 1000
"""Longest message in characters. Kubernetes keeps 4096 bytes of the file, and a character may take several bytes."""


class CheckpointUploader:
    """Uploads each new checkpoint of a work folder to the store, in a thread; a context manager.

    When the store fails, the training goes on without the checkpoint in the store.

    Args:
        work: the work folder.
        store: URI of the training in the store.
        interval_s: seconds between two looks for a new checkpoint.
    """

    def __init__(self, work: Path, store: str, interval_s: float = 1.0) -> None:
        self.work, self.store, self.interval_s = work, store, interval_s
        self.stored: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoint-uploader", daemon=True)

    def __enter__(self) -> "CheckpointUploader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self.interval_s):
            try:
                self.upload_newest()
            except (BadInput, OSError) as error:
                progress.report("train", f"a checkpoint could not be stored, the training goes on: {error}")

    def upload_newest(self) -> None:
        """Upload the newest checkpoint unless it is in the store. The store keeps the last two checkpoints.

        Raises:
            BadInput: the store cannot be used.
        """
        newest = max(self.work.glob("checkpoint-*"), default=None)
        if newest is None or newest.name in self.stored:
            return
        staged = self.work / ".staged"
        shutil.rmtree(staged, ignore_errors=True)
        try:
            # Hard links need no space, and keep the files when the training removes or replaces them meanwhile.
            shutil.copytree(newest, staged / newest.name, copy_function=os.link)
            for name in CARRIED:
                if (self.work / name).exists():
                    os.link(self.work / name, staged / name)
            storage.upload_folder(staged, f"{self.store}/checkpoints/{newest.name}")
        except FileNotFoundError:  # removed by the training, so there is a newer one
            return
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        # Only now is the checkpoint complete, so that a reader may use it.
        put_json({"checkpoint": newest.name}, f"{self.store}/newest", NEWEST)
        self.stored.append(newest.name)
        for old in self.stored[:-2]:
            storage.remove_folder(f"{self.store}/checkpoints/{old}")
        del self.stored[:-2]


def put_json(record: dict[str, Any], uri: str, name: str) -> None:
    """Upload a JSON file. Readers get the old or the new content as a whole."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_text(json.dumps(record), "utf-8")
        storage.upload_folder(Path(folder), uri)


def newest_checkpoint(store: str) -> str | None:
    """The name of the newest complete checkpoint in the store; None when the training has none."""
    uri = f"{store}/newest/{NEWEST}"
    if not storage.file_exists(uri):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NEWEST
        storage.download_file(uri, path)
        name: str = json.loads(path.read_text("utf-8"))["checkpoint"]
    return name


def pod() -> None:
    """Download configuration, dataset and encoder, then become torchrun.

    torchrun reads its arguments from the environment (PET_*), where the training operator sets them.

    Raises:
        BadInput: the store cannot be used.
    """
    authority.trust()
    store, launch = os.environ["SLIPWAY_STORE"], os.environ["SLIPWAY_LAUNCH"]
    os.environ[HOME] = str(WORKSPACE / "home")  # the workers inherit it; other folders are small or read-only
    for leftover in WORKSPACE.iterdir():  # files of an earlier container of this pod
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    storage.download_file(f"{store}/launches/{launch}/config/{CONFIG}", WORKSPACE / CONFIG)
    storage.download_folder(f"{store}/dataset", DATASET)
    config = _config(WORKSPACE / CONFIG)
    if config.settings.encoder == str(ENCODER):
        storage.download_folder(f"{store}/encoder", ENCODER)
    elif is_stored(config.settings.encoder):
        encoder_folder(config.settings.encoder)  # downloads it once, before the workers of this pod start
    torchrun = [sys.executable, "-m", "torch.distributed.run", "-m", "slipway.components.train.remote", "worker"]
    os.execv(torchrun[0], torchrun)


def worker() -> None:
    """Train as one of the workers. The first worker uploads checkpoints, the model and the result.

    Each process has a work folder of its own, so that it resumes from the store only, and not from files of an earlier
    process. The first worker chooses the checkpoint, so that all workers resume from the same one.

    Raises:
        SlipwayError: as `slipway.components.train.worker.train`, or the store cannot be used.
    """
    from slipway.components.train import worker as training_worker

    store, launch = os.environ["SLIPWAY_STORE"], os.environ["SLIPWAY_LAUNCH"]
    config_path = _own_config()
    config = _config(config_path)
    is_first = int(os.environ["RANK"]) == 0
    checkpoint = _broadcast(newest_checkpoint(store) if is_first else None)
    if checkpoint:
        _fetch_checkpoint(f"{store}/checkpoints/{checkpoint}", config.work)
    if not is_first:
        training_worker.main(str(config_path))
        return
    with CheckpointUploader(config.work, store):
        training_worker.main(str(config_path))
    storage.upload_folder(config.output, f"{store}/launches/{launch}/output")
    result = json.loads(config.result_file.read_text("utf-8"))
    put_json(result, f"{store}/launches/{launch}/result", RESULT)


def _config(path: Path) -> WorkerConfig:
    try:
        return WorkerConfig.model_validate_json(path.read_text("utf-8"))
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        raise BadInput(
            f"the image does not understand the configuration ({field}: {problem['msg']}); build it from the same code"
        ) from error


def _own_config() -> Path:
    """Write the configuration of this process, with empty folders of its own; returns its path."""
    process_folder = WORKSPACE / f"process-{os.environ['LOCAL_RANK']}"
    shutil.rmtree(process_folder, ignore_errors=True)
    shared = _config(WORKSPACE / CONFIG)
    config = shared.model_copy(
        update={"work": process_folder / "work", "launch": process_folder / "launch", "output": process_folder / OUTPUT}
    )
    for folder in (config.work, config.launch):
        folder.mkdir(parents=True)
    path = config.launch / CONFIG
    path.write_text(config.model_dump_json(), "utf-8")
    return path


def _broadcast(checkpoint: str | None) -> str | None:
    """Broadcast the checkpoint of the first process to all. The process group that this makes is used by the training,
    too.
    """
    if int(os.environ["WORLD_SIZE"]) == 1:
        return checkpoint
    import torch.distributed

    torch.distributed.init_process_group("gloo")  # as Accelerator(cpu=True) does
    values = [checkpoint]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


def _fetch_checkpoint(uri: str, work: Path) -> None:
    fetched = work / ".fetched"
    storage.download_folder(uri, fetched)
    for path in fetched.iterdir():
        path.rename(work / path.name)
    fetched.rmdir()


def _explain(error: Exception) -> None:
    """Write the error to the termination log. An unknown error does not replace a SlipwayError that is there: the
    processes of a pod share the file, and one that fails makes the others fail.
    """
    if isinstance(error, SlipwayError) or not TERMINATION_LOG.stat().st_size:
        record = {"kind": type(error).__name__, "message": str(error)[:MESSAGE_LIMIT]}
        TERMINATION_LOG.write_text(json.dumps(record), "utf-8")


def main(program: str) -> None:
    """Run as `pod` or `worker`."""
    try:
        {"pod": pod, "worker": worker}[program]()
    except Exception as error:
        _explain(error)
        if isinstance(error, SlipwayError):
            sys.exit(f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    main(sys.argv[1])
