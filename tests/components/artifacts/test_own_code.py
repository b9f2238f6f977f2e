"""A checkpoint that brings code of its own is refused at once, also when somebody at the terminal would say yes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from slipway.components.artifacts import checkpoint, encoder_check
from slipway.components.compress import architecture
from slipway.components.compress.settings import CompressSettings
from slipway.components.errors import BadInput

loaders = {
    "config.json": [
        encoder_check.check_encoder,
        checkpoint.load_checkpoint,
        lambda folder: checkpoint.new_classifier(folder, ["a", "b"]),
        lambda folder: architecture.check_encoder(folder, CompressSettings()),
    ],
    "tokenizer_config.json": [encoder_check.check_encoder, checkpoint.load_tokenizer],
}
for given in sys.argv[1:]:
    file, folder = given.split("=")
    for load in loaders[file]:
        try:
            load(folder)
            print("loaded")
        except BadInput as error:
            print("refused" if f"{file} of {folder} names code of its own (auto_map)" in str(error) else error)
"""
CODE = """
from pathlib import Path
from transformers import BertConfig, BertTokenizer
Path({marker!r}).touch()
class Own(BertConfig): model_type = "own"
class OwnTokenizer(BertTokenizer): pass
"""


def test_code_of_a_checkpoint_never_runs(tiny_checkpoint: Path, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"

    def with_code(name: str, file: str, **changes: object) -> str:
        folder = shutil.copytree(tiny_checkpoint, tmp_path / name)
        (folder / "own.py").write_text(CODE.format(marker=str(marker)))
        (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | changes))
        return f"{file}={folder}"

    config, tokenizer = {"AutoConfig": "own.Own"}, {"AutoTokenizer": ["own.OwnTokenizer", None]}
    given = [
        with_code("unknown", "config.json", auto_map=config, model_type="own"),
        with_code("known", "config.json", auto_map=config),
        with_code("token", "tokenizer_config.json", auto_map=tokenizer, tokenizer_class="OwnTokenizer"),
    ]
    command = [sys.executable, "-c", PROGRAM, *given]
    ended = subprocess.run(command, input="y\n" * 50, capture_output=True, text=True, timeout=200)
    assert not marker.exists(), ended.stdout
    assert ended.stdout.split("\n") == ["refused"] * 10 + [""], ended.stderr
