"""Settings of the step `evaluate`."""

from slipway.components.settings import Settings, setting


class EvaluateSettings(Settings):
    """Limits of the quality gate that a challenger must meet."""

    min_macro_f1: float = setting(0.7, "macro-F1 that every version must reach on the test split", "share", ge=0, le=1)
    max_drop: float = setting(
        0.02,
        "how far the lower end of the interval of the difference from the champion's macro-F1 may lie below zero, and "
        "how far macro-F1 may lie below that of the best version so far",
        "share",
        ge=0,
        le=1,
    )
    confidence: float = setting(
        0.9,
        "of the two-sided intervals; 0.9 leaves 5 % below the lower end, and 5 % above the upper bounds of recall",
        "share",
        gt=0.5,
        lt=1,
    )
    bootstrap_samples: int = setting(2000, "resamples of the test split behind the intervals", "samples", ge=200)
    min_class_recall: float = setting(
        0.5,
        "a class is refused when its recall is surely below this: by the upper bound on its test texts, corrected for "
        "the number of classes; 0 switches the check off",
        "share",
        ge=0,
        le=1,
    )
    max_slice_drop: float = setting(
        1.0,
        "how far the accuracy on a slice of the test split (texts of one length, script, or value of a column) may "
        "surely lie below that on the whole; 1 switches the check off",
        "share",
        ge=0,
        le=1,
    )
    max_calibration_error: float = setting(
        0.15, "highest expected calibration error; 1 switches the check off", "share", ge=0, le=1
    )
    typo_rate: float = setting(
        0.15, "part of the words that get a typing error for the robustness test", "share", ge=0, le=1
    )
    max_typo_drop: float = setting(
        0.15,
        "how much macro-F1 may fall on the texts with typing errors; 1 switches the check off",
        "share",
        ge=0,
        le=1,
    )
    membership_texts: int = setting(
        500,
        "training texts, and as many test texts, on which it is tried to recognise training texts; 0 for none",
        "texts",
        ge=0,
    )
    max_membership_auc: float = setting(
        1.0,
        "how well training texts may be told from others by their loss (area under the curve; 0.5 is guessing); 1 "
        "switches the check off",
        "share",
        ge=0.5,
        le=1,
    )
    seed: int = setting(13, "seed of the resamples and of the typing errors", ge=0, lt=2**31)
