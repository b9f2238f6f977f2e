"""The model to be trained, its optimizer and its learning rate."""

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from slipway.components.artifacts.checkpoint import encoder_folder, load_tokenizer, new_classifier
from slipway.components.artifacts.encoder_check import DECODERS
from slipway.components.errors import BadInput
from slipway.components.learning.settings import TrainSettings


def build_model(settings: TrainSettings, labels: list[str]) -> PreTrainedModel:
    """A pretrained encoder with a new classification head. The same seed gives the same head.

    Raises:
        BadInput: there is no such encoder, it has fewer layers than `settings.layers`, or it does not take
            `settings.max_length` tokens.
    """
    folder = encoder_folder(settings.encoder)
    torch.manual_seed(settings.seed)
    model = new_classifier(folder, labels)
    if model.config.pad_token_id is None or model.config.model_type in DECODERS:
        # Batches are padded with this token, and a decoder finds the end of a text by it.
        model.config.pad_token_id = load_tokenizer(folder).pad_token_id
    if settings.layers:
        keep_layers(model, settings.layers)
    _try_out(model, settings)
    return model


def _try_out(model: PreTrainedModel, settings: TrainSettings) -> None:
    """Pass two texts of the greatest length through the model, and freeze parameters that get no gradient.

    Some encoders have parameters that a classification does not use. Data parallelism would wait for their gradients
    for ever.

    Raises:
        BadInput: the encoder does not take texts of this length.
    """
    token = 1 if model.config.pad_token_id == 0 else 0
    ids = torch.full((2, settings.max_length), token)
    model.train(False)
    try:
        model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.sum().backward()
    except (IndexError, RuntimeError, ValueError) as error:
        raise BadInput(
            f"encoder {settings.encoder!r} cannot classify texts of {settings.max_length} tokens ({error}); set "
            "max_length to what it can take, or use another encoder"
        ) from error
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.grad is not None)
    model.zero_grad()


def keep_layers(model: PreTrainedModel, count: int) -> None:
    """Drop all but the first `count` layers of the encoder, in place, in the model and in its configuration.

    The first layers of a pretrained encoder keep most of its accuracy on many tasks (Sajjad et al. 2023,
    On the effect of dropping layers of pre-trained transformer models).

    Raises:
        BadInput: the encoder has fewer layers, or not one stack of layers.
    """
    stacks = [
        (parent, name, child)
        for parent in model.base_model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == model.config.num_hidden_layers
    ]
    if len(stacks) != 1:
        raise BadInput(
            f"train.layers={count} is not possible for a {model.config.model_type} encoder; set train.layers to 0"
        )
    parent, name, stack = stacks[0]
    if count > len(stack):
        raise BadInput(
            f"train.layers={count}, but the encoder has {len(stack)} layers; set train.layers to 0 for all of them"
        )
    setattr(parent, name, stack[:count])
    model.config.num_hidden_layers = count


def parameter_count(model: nn.Module) -> int:
    """The number of the model's weights."""
    return sum(parameter.numel() for parameter in model.parameters())


def build_optimizer(model: PreTrainedModel, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) without decay of biases and LayerNorm weights, which are vectors.

    A head that starts with random weights has to learn more than the pretrained encoder. So its learning rate is
    `settings.head_factor` times higher (discriminative fine-tuning, Howard & Ruder 2018). A pooler has the learning
    rate of the head, too: encoders that were trained for sentence similarity never used it. Each layer of the encoder
    learns `settings.layer_decay` times as fast as the one above it, since lower layers are the more general ones.
    """
    depths = layer_depths(model)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            depth = depths.get(name)
            factor = settings.head_factor if depth is None else settings.layer_decay**depth
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((settings.learning_rate * factor, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()], fused=True
    )


def layer_depths(model: PreTrainedModel) -> dict[str, int]:
    """The distance of each parameter of the encoder from its top: 0 in the last layer, the number of layers in the
    embeddings. Parameters of the head and of a pooler are left out.
    """
    count = int(model.config.num_hidden_layers)
    in_encoder = {id(parameter) for parameter in model.base_model.parameters()}
    stacks = {name for name, child in model.named_modules() if isinstance(child, nn.ModuleList) and len(child) == count}
    found: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) not in in_encoder or "pooler" in name.split("."):
            continue
        stack = next((stack for stack in stacks if name.startswith(f"{stack}.")), None)
        if stack is not None:
            found[name] = count - 1 - int(name.removeprefix(f"{stack}.").split(".")[0])
        else:
            found[name] = count if "embed" in name or name.split(".")[-2].startswith("w") else 0
    return found


def schedule_factor(update: int, warmup: int, total: int) -> float:
    """The learning rate as a share of the highest one: it rises linearly, then falls linearly to 0.

    Args:
        update: number of the update, from 0.
        warmup: number of updates with a rising learning rate.
        total: number of all updates.
    """
    if update < warmup:
        return (update + 1) / (warmup + 1)
    return max(0.0, (total - update) / max(1, total - warmup))


def build_scheduler(optimizer: torch.optim.Optimizer, settings: TrainSettings, total: int) -> LambdaLR:
    """The schedule of the learning rate over `total` updates, of which the share `settings.warmup_share` is warm-up."""
    warmup = int(settings.warmup_share * total)
    return LambdaLR(optimizer, lambda update: schedule_factor(update, warmup, total))
