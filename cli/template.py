"""The job file that `dbp init` writes: every key with its meaning, ready to run once `data` names a table."""

from __future__ import annotations

from string import Template
from typing import Literal

Task = Literal["classification", "multilabel", "regression"]

_TEMPLATE = Template(
    """\
# A training job for dbp. Edit `data`, then:
#   dbp validate $file    checks this file and the data
#   dbp run $file         trains
# Every key is here. Keys that stand at their default may be left out.

name: $name$name_gap# the job's id begins with it: letters, digits, `.`, `_`, `-`

data:
  train: train.parquet          # .parquet, .csv, .arrow, .npz (arrays x, y), ..., or a folder; relative to this file's folder
  validation: 0.2               # a share of the rows held out (chosen by the seed), or the path of a second table; null: none
  validation_split: null        # how that share is chosen: {group: column}, {time: column} or {stratify: true}; null: any rows
  target: $target$target_gap# the column to predict, or a list of columns
  features: null                # a list of columns or patterns (`lab_*`); null: every column but the target
  drop: []                      # columns or patterns to leave out of the features
  categories: []                # columns to take as categories, one input per class; text always is one
  rare_below: 0                 # classes of a category with fewer rows share one input
  unknown: refuse               # a class of a category that no training row has: refuse, other (with rare_below) or zeros
  most_categories: 1000         # a column with more classes is refused
  dates: []                     # columns of dates or times to take as numbers; or {column: [year, month, weekday, hour, ...]}
  impute: null                  # for missing values: mean, median or zero, or {column: rule}; null: they are refused
  missing_indicator: false      # true: an input that says where a value was missing
  standardize: true             # features are shifted and scaled to mean 0 and standard deviation 1
  standardize_target: null      # the same for the target of a regression; null: as `standardize`
  weight: null                  # a column that says how much each row counts; null: all alike
  class_weights: null           # how much a row of each class counts: balanced, or {rare: 5}; null: all alike
  compact: false                # keep uint8, int8, true/false and float16 features as they are, and encode them in every step
  cache: memory                 # where workers keep encoded rows: memory, or disk for tables larger than it

task: $task$task_gap# classification, multilabel (a list of targets of two classes each) or regression

network:
  hidden: [64, 32]              # units of each hidden layer; []: a linear model
  activation: tanh              # tanh, relu, leaky_relu, sigmoid, softplus or identity; or a list, one for each hidden layer
  output_activation: identity   # of the last layer; must be identity with the cross-entropies, whose softmax is part of the loss
  outputs: null                 # units of the last layer; null: what the target needs
  initializer: glorot           # of the first weights: glorot, he (for relu), lecun, or uniform
  initializer_range: null       # r of uniform, whose weights are drawn between -r and r
  initializer_seed: null        # of the first weights alone; null: training.seed
  start_from: null              # a model.safetensors to go on from, with its encoding of columns; relative to this file's folder
  start_sha256: null            # the SHA-256 of its parameters; null: any

loss: $loss$loss_gap# squared_error, cross_entropy, binary_cross_entropy (multilabel), huber, absolute_error or poisson
huber_delta: 1.0                # of huber: beyond this error a line, not a square

optimizer:
  name: gradient_descent        # others need no keys but their name: lbfgs, rprop, adam, ... (see docs/optimizers.md)
  learning_rate: $rate            # how far a step goes along the negative gradient
  momentum: 0.0                 # the share of the last step that is kept; 0: none
  nesterov: false               # true: the gradient is taken where the momentum leads to
  schedule: {name: constant}    # how the learning rate changes: constant, step, cosine or inverse_time

training:
  max_steps: 200                # training ends after this many steps
  batch: full                   # rows in a step: full, or a number
  reduction: mean               # the objective is the mean over the rows of a step, or their sum
  seed: 0                       # of the first weights, of batches and of the rows held out
  restarts: 1                   # train from so many first weights, and keep the best model
  precision: float32            # or float64
  validate_every: 10            # steps between two looks at the validation rows
  signals_every: null           # steps between two records of the error signal at each neuron; null: none
  l2_penalty: 0.0               # of the weights; 0: none

stopping:
  target_loss: null             # training ends when the objective is as low as this; null: this rule is off
  gradient_tolerance: null      # ... when the norm of its gradient is as small as this
  loss_change: null             # ... when the objective changes by no more than this share
  loss_change_steps: 10         # of `loss_change`
  patience: null                # ... after so many validations in a row without improvement
  min_improvement: 0.0          # by how much the validation loss must fall to count for `patience`
  max_seconds: null             # ... after so many seconds of training; the result then depends on the machine
  keep: null                    # the parameters in the model file: best (on validation rows) or last; null: best with `patience`

workers: 2                      # worker processes, {min: 2, max: 16}, or {threads: 4}: of one process, without Ray. The same bits

audit: 0.0                      # the share of the shards that another worker computes too, to compare the bits; 0: none

checkpoint:
  every: 50                     # steps between two checkpoints
  keep: 3                       # how many are kept

service:
  restarts: 3                   # how often a coordinator that died on a cluster is replaced
  memory_per_worker: null       # bytes to reserve for each worker; null: none
  resources: {}                 # other resources of the cluster to reserve for each worker, such as {big: 1}

storage: runs                   # the folder for job directories, or a URI; a relative path starts where dbp is called

sweep: null                     # values to try, such as {optimizer.learning_rate: [0.1, 0.5]}: the best model is kept; null: none
"""
)

_GAPS = {
    "name": 0,
    "target": 2,
    "task": 0,
    "loss": 0,
}  # keys (and their indent) whose comments stay aligned whatever the value
_BY_TASK: dict[Task, dict[str, str]] = {
    "classification": {"target": "label", "loss": "cross_entropy", "rate": "0.5"},
    "multilabel": {"target": "[urgent, paid]", "loss": "binary_cross_entropy", "rate": "0.5"},
    "regression": {"target": "y", "loss": "squared_error", "rate": "0.1"},
}


def job_template(task: Task, name: str, file: str) -> str:
    """Return the text of a job file for a task; `name` is the job's, `file` how the user calls the file."""
    words = {"name": name, "task": task, **_BY_TASK[task]}
    gaps = {f"{key}_gap": " " * max(2, 32 - indent - len(f"{key}: {words[key]}")) for key, indent in _GAPS.items()}
    return _TEMPLATE.substitute(words, file=file, **gaps)
