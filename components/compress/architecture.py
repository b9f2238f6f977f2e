"""Access to the layers of an encoder and their parts, for the architectures that can be distilled and pruned."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

from torch import nn

from slipway.components.artifacts.checkpoint import load_config
from slipway.components.artifacts.encoder import encoder_folder
from slipway.components.compress.settings import CompressSettings
from slipway.components.errors import BadInput

if TYPE_CHECKING:  # the preflight looks at configurations only, and the models' code takes seconds to load
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Names:
    """Names of modules: `stack` within the base model, all others within a layer."""

    stack: str
    attention: str
    query: str
    key: str
    value: str
    attention_output: str
    expansion: str
    contraction: str


BERT = Names(
    stack="encoder.layer",
    attention="attention.self",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    expansion="intermediate.dense",
    contraction="output.dense",
)
DISTILBERT = Names(
    stack="transformer.layer",
    attention="attention",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_output="attention.out_lin",
    expansion="ffn.lin1",
    contraction="ffn.lin2",
)
SUPPORTED = dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), BERT) | {"distilbert": DISTILBERT}


class Layer(NamedTuple):
    """The linear maps of one layer. Heads are consecutive rows of `query`, `key` and `value`."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    attention_output: nn.Linear
    expansion: nn.Linear
    contraction: nn.Linear


def check_supported(model: "PreTrainedModel") -> None:
    """Check before any work that the layers of this architecture are known.

    Raises:
        BadInput: they are not.
    """
    _check_type(model.config.model_type)


def check_encoder(name: str, settings: CompressSettings) -> None:
    """Check before any training that the encoder can be compressed as the settings say.

    Args:
        name: `minilm`, a folder here or on S3, or a Hugging Face name.
        settings: of the step.

    Raises:
        BadInput: it cannot.
    """
    if settings.distil or settings.prune:
        _check_type(load_config(encoder_folder(name)).model_type)


def _check_type(model_type: str) -> None:
    if model_type not in SUPPORTED:
        raise BadInput(
            f"a {model_type} encoder cannot be distilled or pruned; train one of {', '.join(sorted(SUPPORTED))}, or "
            "set compress.distil and compress.prune to false: int8 works for others too"
        )


def stack(model: "PreTrainedModel") -> nn.ModuleList:
    """The layers of the encoder."""
    return cast(nn.ModuleList, model.base_model.get_submodule(SUPPORTED[model.config.model_type].stack))


def replace_stack(model: "PreTrainedModel", layers: nn.ModuleList) -> None:
    """Replace the layers of the encoder, in the model and in its configuration."""
    parent, _, name = SUPPORTED[model.config.model_type].stack.rpartition(".")
    setattr(model.base_model.get_submodule(parent), name, layers)
    model.config.num_hidden_layers = len(layers)


def layers(model: "PreTrainedModel") -> list[Layer]:
    """The linear maps of each layer."""
    names = SUPPORTED[model.config.model_type]
    return [
        Layer(**{part: cast(nn.Linear, layer.get_submodule(getattr(names, part))) for part in Layer._fields})
        for layer in stack(model)
    ]


def head_size(model: "PreTrainedModel") -> int:
    """Number of dimensions of one attention head. Neither pruning nor narrowing changes it."""
    attention = stack(model)[0].get_submodule(SUPPORTED[model.config.model_type].attention)
    return int(attention.attention_head_size)  # type: ignore[arg-type]


def heads_and_width(model: "PreTrainedModel") -> tuple[int, int]:
    """Number of attention heads of a layer, and of the dimensions of all heads; (0, 0) for an unknown architecture."""
    if model.config.model_type not in SUPPORTED:
        return 0, 0
    width = layers(model)[0].query.out_features
    return width // head_size(model), width
