"""What must hold between the fields of a job.

These run on values that may be wrong in other ways, so that a job file's problems can be reported all at once: a check whose own
fields make no sense says nothing, because another problem already does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from dbp.errors import Problem, StorageError
from dbp.jobs.sweep import sweep_problems
from dbp.jobs.wording import printable, show
from dbp.network.losses import CROSS_ENTROPIES, LOSS_NAMES
from dbp.optimizers.registry import METHODS
from dbp.storage.uris import is_remote, parse_uri, split_pattern

Values: TypeAlias = Mapping[str, object]

_THRESHOLD = (
    '"threshold" cannot be trained: its derivative is zero, so backpropagation has nothing to go back through; '
    "it can be used forward only; for a step that can be trained take sigmoid"
)


_FUNCTIONS = {  # that are part of a loss
    "cross_entropy": "softmax (or logistic function)",
    "binary_cross_entropy": "logistic function",
    "poisson": "exponential function",
}


def default_loss(task: object) -> str:
    """The loss of a job that names none: a cross-entropy where targets are classes, squared_error (the derivation's) otherwise."""
    losses = {"classification": "cross_entropy", "multilabel": "binary_cross_entropy"}
    return losses.get(task, "squared_error") if isinstance(task, str) else "squared_error"


def cross_problems(values: Values) -> list[Problem]:
    """Return everything wrong between the fields of a job, given as the file has it."""
    return [
        *_places(values),
        *_activations(values),
        *_loss(values),
        *_weights(values),
        *_optimizer(values),
        *_columns(values),
        *_splitting(values),
        *_missing(values),
        *_outputs(values),
        *_stopping(values),
        *_start(values),
        *sweep_problems(values),
    ]


def _section(values: Values, name: str) -> Values:
    section = values.get(name)
    return section if isinstance(section, Mapping) else {}


def _loss_name(values: Values) -> object:
    loss = values.get("loss")
    return default_loss(values.get("task")) if loss is None else loss


def _targets(values: Values) -> list[str]:
    target = _section(values, "data").get("target")
    names = target if isinstance(target, list) else [target]
    return [name for name in names if isinstance(name, str)]


def _places(values: Values) -> Iterator[Problem]:
    """A URI is a place and holds no secret: a job file is kept beside the results, and shown."""
    data, network = _section(values, "data"), _section(values, "network")
    for key, place in (
        ("data.train", data.get("train")),
        ("data.validation", data.get("validation")),
        ("network.start_from", network.get("start_from")),
        ("storage", values.get("storage")),
    ):
        if isinstance(place, str) and is_remote(place):
            table = key.startswith("data.")
            try:
                parse_uri(split_pattern(place)[0] if table else place, web=table)
            except StorageError as error:
                yield Problem(key, str(error))


def _activations(values: Values) -> Iterator[Problem]:
    network = _section(values, "network")
    hidden, activation = network.get("hidden"), network.get("activation")
    if isinstance(activation, list):
        if isinstance(hidden, list) and len(activation) != len(hidden):
            yield Problem(
                "network.activation",
                f"{len(activation)} activation{_s(len(activation))} for {len(hidden)} hidden layer{_s(len(hidden))}; "
                "expected one per hidden layer, or one name for all",
            )
        for number, name in enumerate(activation):
            if name == "threshold":
                yield Problem(f"network.activation[{number}]", _THRESHOLD)
    elif activation == "threshold":
        yield Problem("network.activation", _THRESHOLD)
    if network.get("output_activation") == "threshold":
        yield Problem("network.output_activation", _THRESHOLD)


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _loss(values: Values) -> Iterator[Problem]:
    loss, task = _loss_name(values), values.get("task")
    if loss in ("huber", "absolute_error", "poisson") and task == "classification":
        yield Problem(
            "loss", f"{loss} measures quantities; expected cross_entropy or squared_error with task: classification"
        )
    if loss == "binary_cross_entropy" and task == "classification":
        yield Problem(
            "loss",
            "binary_cross_entropy is of several labels; expected cross_entropy with task: classification (or task: multilabel)",
        )
    if loss in LOSS_NAMES and loss != "binary_cross_entropy" and task == "multilabel":
        yield Problem("loss", f"{loss} is not of several labels; expected binary_cross_entropy with task: multilabel")
    if loss in CROSS_ENTROPIES and task == "regression":
        yield Problem("loss", f"{loss} compares class probabilities; expected squared_error with task: regression")
    output = _section(values, "network").get("output_activation", "identity")
    function = _FUNCTIONS.get(loss) if isinstance(loss, str) else None
    if function is not None and isinstance(output, str) and output not in ("identity", "threshold"):
        yield Problem(
            "network.output_activation",
            f"{show(output)} cannot be combined with {loss}, whose {function} is part of the loss; expected identity",
        )


def _weights(values: Values) -> Iterator[Problem]:
    data = _section(values, "data")
    weight, features = data.get("weight"), data.get("features")
    if isinstance(weight, str):
        if weight in _targets(values):
            yield Problem("data.weight", f"column {show(weight)} is also the target; expected another column")
        if isinstance(features, list) and weight in features:
            yield Problem("data.weight", f"column {show(weight)} is also a feature; expected another column")
    if data.get("class_weights") is not None and values.get("task") == "regression":
        yield Problem("data.class_weights", "a regression has no classes; expected null (or data.weight, a column)")
    if data.get("class_weights") is not None and values.get("task") == "multilabel":
        yield Problem(
            "data.class_weights",
            "a row has several labels; expected null with task: multilabel (or data.weight, a column)",
        )


def _optimizer(values: Values) -> Iterator[Problem]:
    optimizer, training = _section(values, "optimizer"), _section(values, "training")
    name, rate = optimizer.get("name"), optimizer.get("learning_rate")
    if name == "gradient_descent":
        if training.get("reduction") == "sum" and isinstance(rate, int | float) and rate > 1:
            yield Problem(
                "optimizer.learning_rate",
                f"{show(rate)} is too large for training.reduction: sum, where it multiplies the gradient of the sum over "
                "all rows; expected a number greater than 0 and at most 1",
            )
        if optimizer.get("nesterov") is True and optimizer.get("momentum", 0.0) == 0:
            yield Problem(
                "optimizer.nesterov",
                "true, but there is no momentum; expected false, or optimizer.momentum greater than 0 (such as 0.9)",
            )
    yield from _curvature(values, name)
    batch, method = training.get("batch"), METHODS.get(name) if isinstance(name, str) else None
    if method is not None and not method.takes_batches and type(batch) is int:
        able = ", ".join(key for key, options in METHODS.items() if options.takes_batches)
        yield Problem(
            "training.batch",
            f"{show(batch)} rows per step cannot be used with {name}, which compares the objective from step to step; "
            f"expected full, or an optimizer that takes batches ({able})",
        )


def _curvature(values: Values, name: object) -> Iterator[Problem]:
    method = METHODS.get(name) if isinstance(name, str) else None
    if (
        method is not None
        and method.needs_curvature
        and _loss_name(values) in LOSS_NAMES
        and _loss_name(values) != "squared_error"
    ):
        yield Problem(
            "loss",
            f"{_loss_name(values)} cannot be used with {name}, which needs a sum of squares; expected squared_error, or another "
            "optimizer, such as lbfgs",
        )


def _columns(values: Values) -> Iterator[Problem]:
    data, targets = _section(values, "data"), _targets(values)
    for key in ("target", "features", "drop", "categories"):
        names = data.get(key)
        for name in _repeated(names):
            yield Problem(f"data.{key}", f"column {show(name)} is named twice; expected each column once")
    features = data.get("features")
    for name in features if isinstance(features, list) else []:
        if isinstance(name, str) and name in targets:
            yield Problem("data.features", f"column {show(name)} is also the target; expected other columns")
    task = values.get("task")
    if task == "regression" and _loss_name(values) == "poisson" and data.get("standardize_target") is True:
        yield Problem("data.standardize_target", "counts cannot be standardised; expected false with loss: poisson")
    if task not in ("classification", "multilabel"):
        return
    if task == "classification" and len(targets) > 1:
        listed = ", ".join(printable(name) for name in targets[:5])
        yield Problem(
            "data.target",
            f"{len(targets)} columns ({listed}); expected one with task: classification; several labels of two classes each are "
            "task: multilabel",
        )
    if task == "multilabel" and len(targets) == 1:
        yield Problem(
            "data.target",
            f"one column ({printable(targets[0])}); expected two or more with task: multilabel, or task: classification",
        )
    if data.get("standardize_target") is True:
        yield Problem("data.standardize_target", f"classes cannot be standardised; expected false with task: {task}")


def _splitting(values: Values) -> Iterator[Problem]:
    data = _section(values, "data")
    split, validation = data.get("validation_split"), data.get("validation")
    if not isinstance(split, Mapping) or not set(split) <= {"group", "time", "stratify"}:
        return
    named = [key for key in ("group", "time") if isinstance(split.get(key), str)]
    asked = [*named, *(["stratify"] if split.get("stratify") is True else [])]
    if len(asked) != 1:
        yield Problem("data.validation_split", f"{len(asked)} of group, time and stratify; expected exactly one")
    if validation is None or isinstance(validation, str):
        seen = "none" if validation is None else "a table of its own"
        yield Problem(
            "data.validation_split",
            f"chooses rows of a share, and data.validation is {seen}; expected a share, such as 0.2",
        )
    if "stratify" in asked and values.get("task") in ("regression", "multilabel"):
        what = "a regression has no classes" if values.get("task") == "regression" else "a row has several labels"
        yield Problem("data.validation_split.stratify", f"{what}; expected group or time, or none")
    for key in named:
        if key == "group" and split[key] in _targets(values):
            yield Problem(
                "data.validation_split.group", f"column {show(split[key])} is also the target; expected another column"
            )


def _missing(values: Values) -> Iterator[Problem]:
    data = _section(values, "data")
    if data.get("missing_indicator") is True and data.get("impute") is None:
        yield Problem("data.missing_indicator", "true, but data.impute fills in nothing; expected both, or false")
    if data.get("unknown") == "other" and data.get("rare_below", 0) in (0, 1):
        yield Problem(
            "data.unknown",
            "other, but no class is rare enough to be among others; expected data.rare_below of at least 2 as well, or zeros",
        )


def _repeated(names: object) -> list[str]:
    if not isinstance(names, list):
        return []
    seen: set[str] = set()
    repeated: dict[str, None] = {}
    for name in names:
        if isinstance(name, str):
            if name in seen:
                repeated[name] = None
            seen.add(name)
    return list(repeated)


def _outputs(values: Values) -> Iterator[Problem]:
    outputs, targets = _section(values, "network").get("outputs"), _targets(values)
    task = values.get("task")
    if task in ("regression", "multilabel") and type(outputs) is int and targets and outputs != len(targets):
        yield Problem(
            "network.outputs",
            f"{outputs} output{_s(outputs)} for {len(targets)} target column{_s(len(targets))}; "
            f"expected one per target column with task: {task} (or leave it out)",
        )


def _stopping(values: Values) -> Iterator[Problem]:
    stopping, data = _section(values, "stopping"), _section(values, "data")
    patience, keep = stopping.get("patience"), stopping.get("keep")
    if data.get("validation") is None:
        needs = "needs validation rows to measure on; expected data.validation, a share of the rows or a table"
        if type(patience) is int:
            yield Problem("stopping.patience", f"{patience} {needs}")
        if keep == "best":
            yield Problem("stopping.keep", f"best {needs}")


def _start(values: Values) -> Iterator[Problem]:
    network = _section(values, "network")
    name, spread, start = (network.get(key) for key in ("initializer", "initializer_range", "start_from"))
    if name == "uniform" and spread is None:
        yield Problem("network.initializer_range", "missing; expected a number with initializer: uniform, such as 0.1")
    if isinstance(spread, int | float) and (name is None or name in ("glorot", "he", "lecun")):
        yield Problem(
            "network.initializer_range",
            f"{show(spread)} is not used by initializer {name or 'glorot'}; expected it with initializer: uniform alone",
        )
    if isinstance(start, str) and name in ("he", "lecun", "uniform"):
        yield Problem("network.initializer", f"{name} is not used with start_from; expected one or the other")
    if isinstance(start, str) and type(network.get("initializer_seed")) is int:
        yield Problem("network.initializer_seed", "is not used with start_from; expected one or the other")
    if start is None and isinstance(network.get("start_sha256"), str):
        yield Problem("network.start_sha256", "names a model, but start_from names no file; expected both, or none")
