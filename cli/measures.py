"""An evaluation on standard output: first the measures, then a line for each class or target, then who was taken for whom."""

from __future__ import annotations

from dbp.cli.output import Output, talk
from dbp.models.evaluation import ClassEvaluation, Evaluation, LabelEvaluation, NumberEvaluation

MATRIX_CLASSES = 12  # a wider matrix does not fit a line
LISTED = 50  # classes or targets

_NAMES = {
    "roc_auc": "ROC AUC",
    "roc_auc_error": "ROC AUC, off by at most",
    "hamming_loss": "Hamming loss",
    "f1_micro": "F1, over all labels",
    "f1_macro": "F1, mean over classes",
    "f1_samples": "F1, mean over rows",
    "f1_weighted": "F1, by support",
    "rms": "RMS error",
    "mae": "mean absolute error",
    "r2": "R2",
    "max_error": "largest error",
    "poisson_deviance": "mean Poisson deviance",
    "weight": "sum of weights",
}
_LABEL_NAMES = {"accuracy": "accuracy (all labels right)", "f1_macro": "F1, mean over labels"}


def show(found: Evaluation, output: Output) -> None:
    """Write an evaluation as tables, or in a pipe as aligned lines."""
    plain = {name: value for name, value in found.items() if not isinstance(value, list)}
    names = _NAMES | _LABEL_NAMES if isinstance(found, LabelEvaluation) else _NAMES
    output.fields({names.get(name, name.replace("_", " ")): value for name, value in plain.items()})
    if isinstance(found, ClassEvaluation):
        _show_classes(found, output)
        _show_confusion(found, output)
    elif isinstance(found, LabelEvaluation):
        _show_labels(found, output)
    elif isinstance(found, NumberEvaluation) and len(found.targets) > 1:
        _show_targets(found, output)


def _show_classes(found: ClassEvaluation, output: Output) -> None:
    if len(found.classes) > LISTED:
        talk(f"{len(found.classes)} classes; --json has the measures of each")
        return
    headings = ("class", "support", "precision", "recall", "F1", "ROC AUC")
    rows = [
        (
            str(each.label),
            each.support,
            _share(each.precision),
            _share(each.recall),
            _share(each.f1),
            _share(each.roc_auc),
        )
        for each in found.classes
    ]
    output.text("")
    output.rows(headings, rows)


def _show_labels(found: LabelEvaluation, output: Output) -> None:
    if len(found.labels) > LISTED:
        talk(f"{len(found.labels)} labels; --json has the measures of each")
        return
    output.text("")
    output.rows(
        ("target", "label", "support", "precision", "recall", "F1", "ROC AUC", "log loss"),
        [
            (
                *(each.target, str(each.label), each.support),
                *map(_share, (each.precision, each.recall, each.f1, each.roc_auc, each.log_loss)),
            )
            for each in found.labels
        ],
    )


def _show_confusion(found: ClassEvaluation, output: Output) -> None:
    if len(found.classes) > MATRIX_CLASSES:
        talk(f"{len(found.classes)} classes; --json and --pictures have the confusion matrix")
        return
    labels = [str(each.label) for each in found.classes]
    output.text("")
    output.rows(
        ("true \\ predicted", *labels), [(label, *row) for label, row in zip(labels, found.confusion, strict=True)]
    )


def _show_targets(found: NumberEvaluation, output: Output) -> None:
    if len(found.targets) > LISTED:
        talk(f"{len(found.targets)} targets; --json has the measures of each")
        return
    output.text("")
    output.rows(
        ("target", "RMS error", "mean absolute error", "R2", "mean error", "largest error"),
        [(each.target, each.rms, each.mae, each.r2, each.mean_error, each.max_error) for each in found.targets],
    )


def _share(value: float) -> str:
    return "-" if value != value else f"{value:.4f}"
