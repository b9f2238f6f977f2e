"""Settings of the step `compress`."""

from components.settings import Settings, setting


class CompressSettings(Settings):
    """Which smaller variants are made, and which of them may be chosen."""

    quality_share: float = setting(
        0.97,
        "part of the teacher's macro-F1 on the validation split that the chosen variant keeps",
        "share",
        ge=0,
        le=1,
    )
    distil: bool = setting(True, "make a student with fewer layers")
    layers_kept: float = setting(0.5, "part of the teacher's layers that the student has", "share", gt=0, le=1)
    distil_epochs: int = setting(3, "passes over the training split to teach the student", "epochs", ge=1)
    prune: bool = setting(True, "cut heads and neurons out of the student, or of the teacher when there is no student")
    heads_kept: float = setting(
        0.67, "part of the attention heads of each layer that pruning leaves", "share", gt=0, le=1
    )
    neurons_kept: float = setting(
        0.5, "part of the feed-forward neurons of each layer that pruning leaves", "share", gt=0, le=1
    )
    importance_texts: int = setting(
        256, "training texts on which the importance of heads and neurons is measured", "texts", ge=1
    )
    recovery_epochs: int = setting(2, "passes over the training split after pruning", "epochs", ge=0)
    quantise: bool = setting(True, "make an int8 variant of every model")
    temperature: float = setting(2.0, "of the soft labels; higher shows more of the small probabilities", ge=1)
    hard_label_share: float = setting(0.1, "weight of the true labels beside the teacher's", "share", ge=0, le=1)
    hidden_weight: float = setting(5.0, "weight of the distance of the hidden states in the loss", ge=0)
    batch_size: int = setting(16, "texts of one update", "texts", ge=2)
    learning_rate: float = setting(3e-4, "highest learning rate of distillation and recovery", gt=0, le=1)
    train_threads: int = setting(0, "CPU threads of distillation; 0 takes as many as there are cores", "threads", ge=0)
    serving_threads: int = setting(
        0,
        "CPU threads of an inference when latency is measured; 0 as the server: as many as there are cores",
        "threads",
        ge=0,
    )
    latency_rounds: int = setting(20, "rounds in which every variant is timed once", "rounds", ge=3)
    seed: int = setting(13, "seed of the order of the texts", ge=0, lt=2**31)
