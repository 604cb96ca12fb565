"""A trained model: the network, its parameters, and how columns become inputs and outputs become predictions."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dbp.data.encoding import Encoding
from dbp.errors import DataError, ModelFileError
from dbp.models.evaluating import Evaluator
from dbp.models.evaluation import Evaluation
from dbp.network.activations import ActivationName
from dbp.network.backprop import predicted_classes, predicted_labels
from dbp.network.losses import CROSS_ENTROPIES, LossName, label_probabilities, loss_code, probabilities, rates
from dbp.network.network import Network
from dbp.storage.array_file import ArrayFileError, read_arrays, write_arrays
from dbp.storage.remote import MissingFileError, open_folder
from dbp.storage.uris import is_remote, local_path, parent_and_name

if TYPE_CHECKING:
    import pyarrow as pa

    from dbp.data.table import Table
    from dbp.models.export import Form, Inputs

FORMAT = "dbp-model-1"


@dataclass(frozen=True)
class Model:
    """What a job results in. ``parameters`` (P,) are in the precision it was trained in."""

    network: Network
    parameters: NDArray[np.floating]
    encoding: Encoding
    loss: LossName
    about: Mapping[str, Any] = field(default_factory=dict)  # name, step, versions: for people

    @property
    def parameters_sha256(self) -> str:
        """SHA-256 (hex) of the parameter vector's bytes: the identity of the result."""
        return hashlib.sha256(np.ascontiguousarray(self.parameters).tobytes()).hexdigest()

    @property
    def has_probabilities(self) -> bool:
        """Whether outputs stand for class probabilities (cross-entropy)."""
        return self.loss in CROSS_ENTROPIES

    def outputs(
        self, rows: ArrayLike | pa.Table | pa.RecordBatch, source: str = "table", first_row: int = 0
    ) -> NDArray[np.floating]:
        """Return the network's raw outputs (rows, N_out).

        `source` and `first_row` are where the rows come from, for messages: a file, and the first row's place in it from 0.
        """
        inputs = self.encoding.encode_features(_columns(rows), self.parameters.dtype, source, first_row)
        return self.network.forward(self.parameters, inputs)

    def predict(self, rows: str | Path | ArrayLike | pa.Table | pa.RecordBatch) -> NDArray[Any]:
        """Return a prediction per row: class values (rows,) in the type of the labels, or numbers (rows,) or (rows, targets).

        Of a multilabel model, class values (rows, targets), as objects where their types differ.

        `rows` is a table file, anything Arrow understands as a table (columns are found by name), or an array (rows, features) with
        the columns in the order of ``encoding.features``. DataError where a column is missing or a value cannot be used.
        """
        parts = [self.predictions(self.outputs(*batch)) for batch in _batches(rows, self.encoding.features)]
        return np.concatenate(parts) if parts else self.predictions(np.empty((0, self.network.sizes[-1])))

    def predict_probabilities(self, rows: str | Path | ArrayLike | pa.Table | pa.RecordBatch) -> NDArray[np.float64]:
        """Return the probability of each class (rows, classes), in the order of ``encoding.classes``.

        Of a multilabel model, the probability of each label (rows, targets): that its column has the second of its two classes in
        ``encoding.labels``. ValueError for a model that has none: a regression, or one trained with squared error.
        """
        if not self.has_probabilities:
            raise ValueError(f"a model trained with {self.loss} has no class probabilities; only cross_entropy has")
        multilabel = self.encoding.task == "multilabel"
        convert = label_probabilities if multilabel else probabilities
        parts = [convert(self.outputs(*batch)) for batch in _batches(rows, self.encoding.features)]
        columns = self.encoding.targets if multilabel else self.encoding.classes
        return np.concatenate(parts) if parts else np.empty((0, len(columns)))

    def predictions(self, outputs: NDArray[np.floating]) -> NDArray[Any]:
        """Return the predictions that raw outputs (rows, N_out) stand for."""
        if self.encoding.task == "classification":
            return self.encoding.decode(predicted_classes(outputs, logits=self.has_probabilities))
        if self.encoding.task == "multilabel":
            return self.encoding.decode(predicted_labels(outputs))
        decoded = self.encoding.decode(rates(outputs) if self.loss == "poisson" else outputs)
        return decoded[:, 0] if decoded.ndim == 2 and decoded.shape[1] == 1 else decoded

    def evaluate(self, table: str | Path | pa.Table, weight: str | None = None) -> Evaluation:
        """Return how well it predicts a table that has the targets: a `ClassEvaluation`, `LabelEvaluation` or `NumberEvaluation`.

        `weight` is a column that says how much each row counts. The measures do not depend on how a file is read. DataError
        where a column is missing, a value cannot be used, or there are no rows.
        """
        if isinstance(table, str | Path):
            from dbp.data.open_table import open_table

            file = open_table(table)
            evaluator = Evaluator(self, file.row_count, weight)
            return evaluator.result(evaluator.parts(file_batches(file, evaluator.columns)), file.path)
        rows = _columns(table)
        if isinstance(rows, np.ndarray):
            raise DataError("an array has no targets; expected a table with columns by name")
        evaluator = Evaluator(self, rows.num_rows, weight)
        return evaluator.result(evaluator.parts([Batch(rows)]), "table")

    def save(self, path: str | Path) -> None:
        """Write the model to one .safetensors file; StorageError when that fails."""
        metadata: dict[str, Any] = {  # plain JSON
            "format": FORMAT,
            "sizes": list(self.network.sizes),
            "activations": list(self.network.activations),
            "loss": self.loss,
            "encoding": self.encoding.to_json(),
            "about": dict(self.about),
        }
        write_arrays(Path(path), {"parameters": self.parameters}, metadata)

    def export(self, path: str | Path, to: Form, inputs: Inputs | None = None) -> list[Path]:
        """Write the model in a form that works without dbp, and return the files (docs/export.md).

        `to` is ``onnx`` (one .onnx file), ``numpy`` (one .py file) or ``torch`` (a .py file, and a .safetensors file beside
        it). `inputs` is for onnx: one ``matrix`` of all columns (the default where all hold numbers) or one input for each of the
        ``columns``. Files that exist are replaced. InputError names the column that cannot be exported; StorageError when a
        file cannot be written.
        """
        from dbp.models.export import export_model

        return export_model(self, Path(path), to, inputs)


def load_model(path: str | Path) -> Model:
    """Read a model file, at a path or URI. ModelFileError when it is missing, damaged, or no model."""
    if is_remote(path):
        return _load_remote(str(path))
    path = local_path(path)
    try:
        arrays, metadata = read_arrays(path)
    except ArrayFileError as error:
        raise ModelFileError(f"{path}: {error.reason}") from error
    if metadata.get("format") != FORMAT or "parameters" not in arrays:
        raise ModelFileError(f"{path}: not a model file of dbp (a checkpoint, perhaps?); expected format {FORMAT}")
    try:
        sizes = cast("list[int]", metadata["sizes"])
        activations = cast("list[ActivationName]", metadata["activations"])
        network = Network(sizes, activations)
        encoding = Encoding.from_json(metadata["encoding"])
        loss = cast(LossName, metadata["loss"])
        loss_code(loss)
        _check_fit(network, encoding, loss)
        about = dict(metadata.get("about") or {})
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: its description of the network cannot be used ({error})") from error
    parameters = arrays["parameters"]
    if parameters.shape != (network.parameter_count,) or parameters.dtype not in (np.float32, np.float64):
        raise ModelFileError(
            f"{path}: parameters of shape {parameters.shape} and type {parameters.dtype}; "
            f"expected ({network.parameter_count},) of float32 or float64"
        )
    return Model(network, cast("NDArray[np.floating]", parameters), encoding, loss, about)


def _load_remote(uri: str) -> Model:
    folder, name = parent_and_name(uri)
    with tempfile.TemporaryDirectory(prefix="dbp-model-", ignore_cleanup_errors=True) as temporary:
        local = Path(temporary) / name
        try:
            open_folder(folder).download(name, local)
            return load_model(local)
        except MissingFileError as error:
            raise ModelFileError(f"{uri}: no such file") from error
        except ModelFileError as error:
            raise ModelFileError(f"{uri}: {str(error).removeprefix(f'{local}: ')}") from error


def _check_fit(network: Network, encoding: Encoding, loss: LossName) -> None:
    """Raise ValueError where the network's first or last layer is not as wide as the columns need, or the loss not of the task."""
    if (encoding.task == "multilabel") != (loss == "binary_cross_entropy"):
        raise ValueError(f"the loss {loss} for a {encoding.task} model")
    if encoding.counts != (loss == "poisson"):
        raise ValueError(
            f"the loss {loss} for a model {'of counts' if encoding.counts else 'whose targets are no counts'}"
        )
    width, outputs = network.sizes[0], network.sizes[-1]
    if width != encoding.width:
        what = "inputs of its columns" if encoding.rules else "features"
        raise ValueError(f"{width} inputs for {encoding.width} {what}")
    count = len(encoding.classes) if encoding.task == "classification" else len(encoding.targets)
    if outputs != count and not (encoding.task == "classification" and (outputs, count) == (1, 2)):
        raise ValueError(f"{outputs} outputs for {count} {'classes' if encoding.classes else 'targets'}")


class Batch(NamedTuple):
    """Rows, and where they come from."""

    rows: Any  # an array, an Arrow table or a batch of one
    source: str = "table"
    first_row: int = 0


def _columns(rows: object) -> Any:
    """Return rows as an array or an Arrow table; data frames and dicts of columns become tables."""
    import pyarrow as pa

    if isinstance(rows, pa.Table | pa.RecordBatch | np.ndarray):
        return rows
    try:
        if hasattr(rows, "__arrow_c_stream__") or isinstance(rows, dict):
            return pa.table(rows)
        return np.asarray(rows)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"rows: {error}; expected a table, a dict of columns, or an array (rows, features)") from error


def _batches(rows: object, columns: tuple[str, ...]) -> Iterator[Batch]:
    """Yield a table file in batches, anything else as it is."""
    if not isinstance(rows, str | Path):
        yield Batch(_columns(rows))
        return
    from dbp.data.open_table import open_table

    yield from file_batches(open_table(rows), columns)


def file_batches(table: Table, columns: tuple[str, ...]) -> Iterator[Batch]:
    """Yield all rows of some columns of a table file. DataError where it lacks one."""
    from dbp.data.table import require_columns

    require_columns(table, columns)
    place = 0
    for batch in table.batches(0, table.row_count, columns):
        yield Batch(batch, table.path, place)
        place += batch.num_rows
