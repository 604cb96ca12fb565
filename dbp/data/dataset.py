"""Where a job's training and validation rows come from. Small and made of plain values: a worker process is sent it and reads its
own rows only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dbp.data.column_plan import (
    NO_OPTIONS,
    ColumnOptions,
    FeaturePlan,
    Quantity,
    SplitRule,
    choose_features,
    plan_features,
)
from dbp.data.compact import compact_rows, compact_type
from dbp.data.contents import Contents
from dbp.data.encoding import Encoding, Task, numbers_of
from dbp.data.open_table import open_table
from dbp.data.rows import EncodedRows
from dbp.data.split import MarkedSplit, Split, pack_marks
from dbp.data.table import Table, require_columns
from dbp.data.target_classes import class_problems, label_problems
from dbp.data.text_scan import Lookers, Looking
from dbp.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from dbp.data.statistics import ColumnSummary
    from dbp.data.vocabulary import Vocabulary

Part = Literal["train", "validation"]


@dataclass(frozen=True)
class Dataset:
    """The tables of a job, its columns, and which rows are held out."""

    train: str
    validation: float | str | None
    features: tuple[str, ...]
    targets: tuple[str, ...]
    task: Task
    seed: int
    weight: str | None = None  # the column that says how much a row counts
    columns: ColumnOptions = NO_OPTIONS
    plans: tuple[FeaturePlan, ...] = ()  # one per feature
    held_out: bytes | None = None  # a bit per row of the training table, where a column decides on the validation rows
    counts: bool = False  # whether the targets of a regression are counts or rates, 0 or more
    compact: str | None = None  # the type that inputs are kept in, where they stay as the table has them

    @classmethod
    def open(
        cls,
        train: str,
        validation: float | str | None,
        target: str | Sequence[str],
        features: Sequence[str] | None,
        task: Task,
        seed: int,
        weight: str | None = None,
        columns: ColumnOptions | None = None,
        split: SplitRule | None = None,
        compact: bool = False,
        counts: bool = False,
        lookers: Lookers | None = None,
        foreseen: Callable[[Dataset], None] | None = None,
    ) -> Dataset:
        """Open the tables and check all that their metadata and their first rows can tell. DataError names file and column.

        `features` may hold patterns. With a `split`, the column that it names is read, once. `lookers` look through large
        tables, for that and where they are text; before they do so, columns are checked by the first rows, and `foreseen` hears
        of a dataset.
        """
        options = NO_OPTIONS if columns is None else columns

        def of(table: Table) -> Dataset:
            found = cls._of(table, train, validation, target, features, task, seed, weight, options, split)
            return found._with(counts=counts)

        def first_look(table: Table) -> None:
            first = of(table)
            first._check_text(table)
            if foreseen is not None:
                foreseen(first)

        table = open_table(train, looking=None if lookers is None else Looking(lookers, first_look))
        dataset = of(table)
        tables = [table]
        if isinstance(validation, str):

            def second_look(table: Table) -> None:
                require_columns(table, dataset._read_columns)
                if foreseen is not None:
                    foreseen(dataset)

            other = open_table(validation, looking=None if lookers is None else Looking(lookers, second_look))
            require_columns(other, dataset._read_columns)
            dataset.__dict__["_validation_table"] = other
            tables.append(other)
        if compact:
            dataset = dataset._compacted(tables)
        from dbp.data.checks import check_first_rows, require_rows

        for each in tables:
            require_rows(each, validation)
            dataset._check_types(each)
        check_first_rows(table, dataset.plans, lambda plan: dataset._first_classes[plan.name])
        if split is not None and isinstance(validation, float):
            from dbp.data.held_out import marks

            if lookers is not None and foreseen is not None:
                foreseen(dataset)
            held_out = pack_marks(marks(table, split, dataset.targets[0], validation, seed, lookers))
            dataset = dataset._with(held_out=held_out)
        return dataset

    @classmethod
    def _of(
        cls,
        table: Table,
        train: str,
        validation: float | str | None,
        target: str | Sequence[str],
        features: Sequence[str] | None,
        task: Task,
        seed: int,
        weight: str | None,
        options: ColumnOptions,
        split: SplitRule | None,
    ) -> Dataset:
        """Return a dataset whose training table is open. DataError for columns that are not there, or not as they are named."""
        targets = (target,) if isinstance(target, str) else tuple(target)
        others = (*targets, *([] if weight is None else [weight]))
        require_columns(table, others)
        splitting = () if split is None or split.column is None else (split.column,)
        require_columns(table, splitting)
        named = {*options.categories, *(entry for entry, _ in options.dates)}
        hidden = [name for name in splitting if name not in named]
        chosen = choose_features(table, features, options.drop, others, hidden)
        if not chosen:
            raise DataError(
                f"{table.path}: no column but the target {', '.join(targets)}; expected features to learn from"
            )
        both = [name for name in chosen if name in targets]
        if both:
            raise DataError(
                f"{table.path}: {both[0]!r} is the target and listed in data.features; expected one or the other"
            )
        plans = plan_features(table, chosen, options, splitting)
        dataset = cls(train, validation, chosen, targets, task, seed, weight, options, plans)
        dataset.__dict__["_train_table"] = table
        return dataset

    def _compacted(self, tables: Sequence[Table]) -> Dataset:
        """Return this with inputs that stay as the tables have them. DataError where they cannot, or not in both alike."""
        kept, *others = (str(compact_type(table, self.plans)) for table in tables)
        if any(other != kept for other in others):
            raise DataError(f"{tables[1].path}: data.compact: other types than in {tables[0].path}; expected the same")
        return self._with(compact=kept)

    def _with(self, **changes: Any) -> Dataset:
        """Return this with other values of fields, and the same open tables."""
        changed = replace(self, **changes)
        opened = ("_train_table", "_validation_table")
        changed.__dict__.update({name: self.__dict__[name] for name in opened if name in self.__dict__})
        return changed

    @property
    def _read_columns(self) -> tuple[str, ...]:
        return (*self.features, *self.targets, *([] if self.weight is None else [self.weight]))

    @cached_property
    def expected_inputs(self) -> int:
        """How many inputs the features will be, about: exactly, where none is a category or has an indicator.

        Of categories it counts the classes among the table's first rows: known before the rows are read, and the same whoever asks.
        """
        return sum(self._expected(plan) for plan in self.plans)

    def _expected(self, plan: FeaturePlan) -> int:
        if plan.kind != "category":
            return len(plan.quantities) + plan.indicator
        found = self._first_classes[plan.name]
        return self.columns.most_categories if found.over else max(len(found.counts), 1)

    @cached_property
    def _first_classes(self) -> dict[str, Vocabulary]:
        from dbp.data.checks import first_classes

        categories = [plan for plan in self.plans if plan.kind == "category"]
        most = self.columns.most_categories
        return {plan.name: first_classes(self._train_table, plan, most) for plan in categories}

    def fitted_encoding(self, summary: ColumnSummary, standardize: bool, standardize_target: bool) -> Encoding:
        """Return the encoding that the summary of the training rows makes of the columns."""
        return Encoding.from_summary(
            summary,
            features=self.features,
            targets=self.targets,
            task=self.task,
            standardize=standardize,
            standardize_target=standardize_target,
            counts=self.counts,
            plans=self.plans,
            options=self.columns,
            zoned=[plan.name for plan in self.plans if plan.zoned],
        )

    @property
    def training_rows(self) -> int:
        """The number of rows to learn from."""
        return self._split.training_rows if self._split else self._train_table.row_count

    @property
    def validation_rows(self) -> int:
        """The number of rows to validate on; 0 for none."""
        if self._split:
            return self._split.validation_rows
        return self._validation_table.row_count if self._validation_table is not None else 0

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) of the contents of the tables. From then on rows are read from these contents only.

        That holds for workers too that are sent the dataset afterwards.
        """
        digest = hashlib.sha256()
        for known in self._contents.values():
            digest.update(known.fingerprint.encode())
        return digest.hexdigest()

    @cached_property
    def _contents(self) -> dict[str, Contents]:
        tables = {"train": self._train_table, "validation": self._validation_table}
        return {name: Contents.of(table) for name, table in tables.items() if table is not None}

    @property
    def reading_bytes(self) -> int:
        """About how much memory a process takes to read rows, besides those rows."""
        columns = self._read_columns
        tables = [self._train_table, *([self._validation_table] if self._validation_table is not None else [])]
        return max(table.reading_bytes(columns) for table in tables)

    def summarize(self, part: Part, start: int, stop: int) -> ColumnSummary:
        """Return the summary of rows [start, stop) of a part."""
        from dbp.data.statistics import summarize

        table, rows = self._read(part, start, stop)
        quantities = [quantity for plan in self.plans for quantity in plan.quantities]
        if self.task == "regression":
            quantities += [Quantity(name, least=0.0 if self.counts else None) for name in self.targets]
        label = {"regression": None, "classification": self.targets[0], "multilabel": self.targets}[self.task]
        categories = [plan for plan in self.plans if plan.kind == "category"]
        return summarize(table, quantities, label, rows, self.weight, categories, self.columns.most_categories)

    def encode(
        self, part: Part, start: int, stop: int, encoding: Encoding, dtype: np.dtype[np.floating]
    ) -> EncodedRows:
        """Return rows [start, stop) of a part; their weights are the column's. With `compact`, inputs are those of the table."""
        table, rows = self._read(part, start, stop)
        source = self._table(part).path
        inputs: NDArray[Any] = encoding.encode_features(table, dtype, source, rows)
        if self.compact is not None:  # which was tried: whatever cannot be encoded has been refused
            if encoding.rules:
                raise DataError(
                    f"{source}: data.compact: the model to start from fills columns or takes classes; expected `compact: false`"
                )
            inputs = compact_rows(table, self.features, np.dtype(self.compact))
        targets = encoding.encode_targets(table, dtype, source, rows)
        weights = None if self.weight is None else numbers_of(table, [self.weight], source, rows)[:, 0]
        return EncodedRows(inputs, targets, weights)

    def check(self, training: ColumnSummary, validation: ColumnSummary | None, adopted: bool = False) -> None:
        """Raise DataError for everything that the summaries show to be unusable, all at once.

        With an `adopted` encoding, another table's rows say which classes of a category are known: those are seen to by `encode`.
        """
        from dbp.data.checks import feature_problems

        bad = {(self._train_table.path, name): cells for name, cells in training.bad.items()}
        for name, cells in (validation.bad if validation is not None else {}).items():
            place = (self._table("validation").path, name)
            bad[place] = cells.merged(bad.get(place))  # with a share held out, both parts are of one file
        problems = [f"{path}: {cells.describe(name)}" for (path, name), cells in bad.items()]
        tables = (self._train_table, self._table("validation"))
        problems += feature_problems(tables, self.plans, self.columns, training, None if adopted else validation)
        paths = (tables[0].path, tables[1].path)
        if self.task == "classification" and self.targets[0] not in training.bad:
            problems += class_problems(paths, self.targets[0], training, validation)
        if self.task == "multilabel":
            problems += label_problems(paths, training, validation, adopted)
        if self.weight is not None and self.weight not in training.bad and training.largest_weight == 0:
            problems.append(
                f"{self._train_table.path}: data.weight {self.weight!r} is 0 in every training row; expected one above 0"
            )
        if problems:
            raise DataError("\n".join(problems))

    @property
    def _amounts(self) -> tuple[str, ...]:
        """The columns that are numbers whatever their type says: targets of a regression, and weights."""
        return (*(self.targets if self.task == "regression" else ()), *([] if self.weight is None else [self.weight]))

    def _check_text(self, first_rows: Table) -> None:
        """Raise DataError for text among the first rows where numbers belong: what is text there is text in the whole."""
        from dbp.data.columns import is_text
        from dbp.data.type_checks import check_numbers

        schema = first_rows.schema
        check_numbers(first_rows, [name for name in self._amounts if is_text(schema.field(name).type)])

    def _check_types(self, table: Table) -> None:
        from dbp.data.type_checks import check_types

        quantities = [*(plan.name for plan in self.plans if plan.kind == "number"), *self._amounts]
        labels = () if self.task == "regression" else self.targets
        check_types(table, quantities, self.plans, labels, self._train_table)

    def _read(self, part: Part, start: int, stop: int) -> tuple[pa.Table, NDArray[np.int64]]:
        """Return rows [start, stop) of a part, and their places in the file, from 0."""
        import pyarrow as pa

        from dbp.data.columns import typed_where_empty

        table, columns = self._table(part), self._read_columns
        if self._split:
            rows = self._split.rows(part == "validation", start, stop)
            first, end = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        else:
            rows, first, end = np.arange(start, stop), start, stop
        schema = pa.schema([table.schema.field(name) for name in columns])
        found = pa.Table.from_batches(list(table.batches(first, end, columns)), schema)
        if found.num_rows != end - first:
            raise DataError(f"{table.path}: rows {first + 1} to {end} are not there; has the file changed?")
        name = "train" if table is self._train_table else "validation"
        if "_contents" in self.__dict__:
            self._contents[name] = self._contents[name].still_there(table)
        if self._split:
            found = found.take(rows - first)
        if table is not self._train_table:
            found = typed_where_empty(found, self._train_table.schema, self.features)
        return found, rows

    def _table(self, part: Part) -> Table:
        if part == "validation" and self._validation_table is not None:
            return self._validation_table
        return self._train_table

    @cached_property
    def _train_table(self) -> Table:
        return open_table(self.train, self._learnt.get("_train_table"))

    @cached_property
    def _validation_table(self) -> Table | None:
        if not isinstance(self.validation, str):
            return None
        return open_table(self.validation, self._learnt.get("_validation_table"))

    @cached_property
    def _learnt(self) -> dict[str, object]:
        return {}

    @cached_property
    def _split(self) -> Split | MarkedSplit | None:
        if not isinstance(self.validation, float):
            return None
        if self.held_out is not None:
            return MarkedSplit(self._train_table.row_count, self.held_out)
        return Split(self._train_table.row_count, self.validation, self.seed)

    def __getstate__(self) -> dict[str, object]:
        # Open files stay in their process; each opens its own, and is told what this one learnt by opening them.
        tables = {name: self.__dict__.get(name) for name in ("_train_table", "_validation_table")}
        learnt = self._learnt | {name: table.learnt() for name, table in tables.items() if table is not None}
        known = {name: value for name, value in self.__dict__.items() if name == "_contents"}
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | known | {"_learnt": learnt}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
