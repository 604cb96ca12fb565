#!/usr/bin/env bash
# `make demo`: the main job on real data, on an embedded Ray with two worker processes.
set -euo pipefail
cd "$(dirname "$0")/.."
id="demo-$(date -u +%Y%m%d-%H%M%S)"

step() { printf '\n== %s\n' "$1"; }

step "handwritten digits as a table: python examples/make_digits.py"
python examples/make_digits.py

step "train with 2 workers: dbp run examples/digits.yaml --id $id"
dbp run examples/digits.yaml --workers 2 --id "$id"

step "the loss curve: dbp plot $id --terminal"
dbp plot "$id" --terminal

step "predict with the saved model: dbp predict $id examples/digits.parquet -o runs/$id/predictions.parquet"
dbp predict "$id" examples/digits.parquet -o "runs/$id/predictions.parquet"

step "measure it: dbp evaluate $id examples/digits.parquet (training rows included)"
dbp evaluate "$id" examples/digits.parquet

step "held-out accuracy must be at least 0.95"
python - "runs/$id/metrics.jsonl" <<'PY'
import json, sys
last = [json.loads(line) for line in open(sys.argv[1])][-1]
accuracy = last["validation_accuracy"]
print(f"held-out accuracy {accuracy:.4f}")
sys.exit(accuracy < 0.95)
PY

printf '\nEverything is in runs/%s. Next: the tutorial in README.md.\n' "$id"
