"""The kernel beside the machine's matrix-multiply rate and beside torch, one thread each; and what shards and tree cost.

Prints JSON. The environment decides the instructions of each: DBP_INSTRUCTIONS, OPENBLAS_CORETYPE, MKL_ENABLE_INSTRUCTIONS.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
import torch
from measuring import interleaved
from shapes import SHAPES, MadeUpRows, Shape
from threadpoolctl import threadpool_limits

from dbp.network.backprop import Kernel
from dbp.network.compiled import instruction_set
from dbp.sums.messages import SumTask, TrainingWork, Workload
from dbp.sums.pool import serial_pool
from dbp.sums.shards import cut_into_shards

MATRIX = 2048
TORCH_BLOCK = 1000


def torch_gradient(shape: Shape, inputs: np.ndarray, targets: np.ndarray, theta: np.ndarray, block: int):
    """Return a call that computes the same gradient in eager torch, `block` rows at a time."""
    layers: list[torch.nn.Module] = []
    for depth, layer in enumerate(shape.network.layers(theta)):
        linear = torch.nn.Linear(*layer.weights.shape, dtype=torch.from_numpy(theta).dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(layer.weights.T.copy()))
            linear.bias.copy_(torch.from_numpy(layer.bias.copy()))
        layers += [torch.nn.Tanh(), linear] if depth else [linear]
    model = torch.nn.Sequential(*layers)
    x, t = torch.from_numpy(inputs), torch.from_numpy(targets)

    def call() -> None:
        model.zero_grad(set_to_none=True)
        for start in range(0, len(x), block):
            (0.5 * (model(x[start : start + block]) - t[start : start + block]).square().sum()).backward()

    def result() -> np.ndarray:
        call()
        pieces = [p.grad.T if p.grad.ndim == 2 else p.grad for p in model.parameters() if p.grad is not None]
        return np.concatenate([piece.numpy().ravel() for piece in pieces])

    return call, result


def measure(shape: Shape, precision: str, rounds: int) -> dict[str, object]:
    """Return one row of the table."""
    network, dtype = shape.network, np.dtype(precision)
    shards = cut_into_shards(shape.rows, shape.sizes)
    source = MadeUpRows(shape.sizes[0], shape.sizes[-1])
    inputs, targets, _ = source.encode("train", 0, shape.rows, None, dtype)
    theta = network.initial_parameters(0, precision)
    gradient = np.empty_like(theta)
    kernel = Kernel(network, "squared_error", dtype)
    pool = serial_pool(
        Workload(source, {"train": shards}, 0, TrainingWork(network, "squared_error", precision, encoding=None))
    )
    pool.sum(SumTask("load", "train"), None)
    square = np.random.default_rng(0).standard_normal((MATRIX, MATRIX)).astype(dtype)
    product = np.empty_like(square)
    eager, result = torch_gradient(shape, inputs, targets, theta, shape.rows)
    blocks, _ = torch_gradient(shape, inputs, targets, theta, TORCH_BLOCK)
    kernel.move_to(theta)
    kernel.gradient_sum(inputs, targets, gradient)
    difference = float(np.abs(result() - gradient).max() / np.abs(gradient).max())
    assert difference < (1e-3 if precision == "float32" else 1e-10), (
        difference
    )  # the same work, or the ratio means nothing

    def dbp_gradient() -> None:
        kernel.move_to(theta)
        kernel.gradient_sum(inputs, targets, gradient)

    seconds = interleaved(
        {
            "matmul": lambda: np.matmul(square, square, out=product),
            "dbp": dbp_gradient,
            "step": lambda: pool.sum(SumTask("gradient", "train"), theta),
            "torch": eager,
            "torch_blocks": blocks,
        },
        rounds,
    )
    rate = 2 * MATRIX**3 / seconds["matmul"]
    return {
        "network": shape.name,
        "precision": precision,
        "rows": shape.rows,
        "shards": shards.count,
        "parameters": network.parameter_count,
        "gigaflops_matmul": rate / 1e9,
        "gigaflops_dbp": shape.operations / seconds["dbp"] / 1e9,
        "share": shape.operations / seconds["dbp"] / rate,
        "torch_ratio": seconds["torch"] / seconds["dbp"],
        "torch_blocks_ratio": seconds["torch_blocks"] / seconds["dbp"],
        "shards_and_tree": seconds["step"] / seconds["dbp"] - 1,
        "seconds": seconds,
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    quick = arguments.parse_args().quick
    threadpool_limits(1)
    torch.set_num_threads(1)
    rows = []
    for precision in ("float32",) if quick else ("float32", "float64"):
        for shape in SHAPES[2:] if quick else SHAPES:
            used = Shape(shape.sizes, shape.rows // 50) if quick else shape
            print(f"kernel {used.name} {precision}", file=sys.stderr, flush=True)
            rows.append(measure(used, precision, 5 if quick else 9))
    json.dump({"instructions": instruction_set(), "torch": torch.__version__, "rows": rows}, sys.stdout)


if __name__ == "__main__":
    main()
