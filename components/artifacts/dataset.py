"""Reads and writes the dataset folder that flows between steps.

train.arrow validation.arrow test.arrow   Arrow IPC files, columns id: string, text: string, label: int32, and
                                          by:NAME: string for columns by which results are told apart, and
                                          group: int32 if texts of one group stay together
labels.json                               the class names; `label` is an index into this list
dataset.json                              source, counts, digests of the splits and of the whole dataset
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from slipway.components import formats
from slipway.components.errors import BadInput

SPLITS = ("train", "validation", "test")
INFO = "dataset.json"
FORMAT = 1
"""Format of the dataset folder, stated in `dataset.json`; see `slipway.components.formats`."""
PREFIX = "by:"
"""Begins the names of further columns, so that a user may call one `label`."""
GROUP = "group"
SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("label", pa.int32())])


class TextDataset:
    """A dataset folder, opened for reading.

    Raises:
        BadInput: the folder is not a dataset folder, or a later Slipway wrote it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.labels: list[str] = json.loads((self.folder / "labels.json").read_text("utf-8"))
            self.info: dict[str, Any] = json.loads((self.folder / INFO).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"{self.folder} is not a dataset folder ({error}); run prepare_data first") from error
        formats.check(self.folder / INFO, self.info, FORMAT)

    @property
    def digest(self) -> str:
        """`sha256:…` over all splits and labels."""
        return str(self.info["digest"])

    def table(self, split: str) -> pa.Table:
        """The rows of one of `SPLITS`."""
        with pa.memory_map(str(self.folder / f"{split}.arrow")) as source:
            return pa.ipc.open_file(source).read_all()

    def texts(self, split: str) -> list[str]:
        """The texts of a split, in order."""
        texts: list[str] = self.table(split)["text"].to_pylist()
        return texts

    def label_ids(self, split: str) -> npt.NDArray[np.int64]:
        """Class indices of a split, shape (rows,)."""
        return np.asarray(self.table(split)["label"].to_numpy(), dtype=np.int64)

    def columns(self, split: str) -> dict[str, list[str]]:
        """Further columns of a split, by which results are told apart; the digest does not cover them."""
        table = self.table(split)
        return {
            name.removeprefix(PREFIX): table[name].to_pylist() for name in table.column_names if name.startswith(PREFIX)
        }

    def groups(self, split: str) -> npt.NDArray[np.int64] | None:
        """The number of the group of each text of a split, shape (rows,); None if there are no groups.

        Texts of one group are in one split, and the digest does not cover the numbers.
        """
        table = self.table(split)
        return np.asarray(table[GROUP].to_numpy(), dtype=np.int64) if GROUP in table.column_names else None


def write_dataset(
    folder: str | Path,
    splits: Mapping[str, tuple[Sequence[str], Sequence[int]]],
    labels: Sequence[str],
    info: Mapping[str, Any],
    columns: Mapping[str, Mapping[str, Sequence[str]]] = MappingProxyType({}),
    groups: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> TextDataset:
    """Write a dataset folder.

    Args:
        folder: the folder, which is made if it does not exist.
        splits: texts and class indices of each of `SPLITS`.
        labels: the class names.
        info: further members of `dataset.json`.
        columns: of some splits, further columns by name, with a value for each text.
        groups: of some splits, the number of the group of each text.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    whole = hashlib.sha256(json.dumps(list(labels)).encode())
    for name in SPLITS:
        texts, label_ids = splits[name]
        content = hashlib.sha256()
        for text, label in zip(texts, label_ids, strict=True):
            content.update(json.dumps([text, int(label)]).encode() + b"\n")
        digests[name] = f"sha256:{content.hexdigest()}"
        whole.update(content.digest())
        ids = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts]
        table = pa.table([ids, list(texts), [int(label) for label in label_ids]], schema=SCHEMA)
        for column, values in columns.get(name, {}).items():
            table = table.append_column(f"{PREFIX}{column}", pa.array(list(values), pa.string()))
        if name in groups:
            table = table.append_column(GROUP, pa.array(list(groups[name]), pa.int32()))
        with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    (folder / "labels.json").write_text(json.dumps(list(labels), ensure_ascii=False), "utf-8")
    record = {
        **info,
        formats.KEY: FORMAT,
        "digest": f"sha256:{whole.hexdigest()}",
        "digests": digests,
        "rows": {name: len(splits[name][0]) for name in SPLITS},
    }
    (folder / INFO).write_text(json.dumps(record, indent=2, ensure_ascii=False), "utf-8")
    return TextDataset(folder)
