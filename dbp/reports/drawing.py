"""The network drawn: layers of neurons, left to right, with their weights, or with the error signal that reaches them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dbp.data.encoding import Encoding
from dbp.network.network import LayerParameters, Network
from dbp.reports.facts import Snapshot, Weights
from dbp.reports.markup import Markup, number, shortened, tag

MOST_NEURONS = 12  # of a layer that are drawn
SPACE, HOP, SIDE, TOP, RADIUS = 25, 105, 92, 34, 8
MOST_DECADES, FEWEST_DECADES = 6.0, 1.0  # of error signals that are told apart by their shade


@dataclass(frozen=True)
class Layout:
    """Which neurons are drawn, and where. Layers from 0, the inputs."""

    sizes: tuple[int, ...]
    shown: tuple[tuple[int, ...], ...]  # numbers of the neurons drawn, per layer
    names: tuple[tuple[str, ...], ...]  # of inputs and outputs; () for hidden layers
    height: float

    @property
    def width(self) -> float:
        """Width of the drawing."""
        return 2 * SIDE + HOP * (len(self.sizes) - 1)

    def at(self, layer: int, place: int) -> tuple[float, float]:
        """Return where the neuron at a place among those shown is drawn."""
        column = (len(self.shown[layer]) - 1) * SPACE
        return SIDE + HOP * layer, (self.height + TOP - 20) / 2 - column / 2 + place * SPACE

    def name(self, layer: int, neuron: int) -> str:
        """Return what to call a neuron."""
        if self.names[layer]:
            return self.names[layer][neuron]
        kind = "input" if layer == 0 else "output" if layer == len(self.sizes) - 1 else f"layer {layer}, neuron"
        return f"{kind} {neuron + 1}"

    @property
    def abridged(self) -> str:
        """What is not drawn, in words."""
        left = [
            f"{len(shown)} of {size} {_layer_name(layer, len(self.sizes))}"
            for layer, (size, shown) in enumerate(zip(self.sizes, self.shown, strict=True))
            if len(shown) < size
        ]
        return f"Drawn are {', '.join(left)}: those with the largest weights. " if left else ""


def layout(weights: Weights) -> Layout:
    """Return which neurons are drawn: of a large layer those with the largest weights."""
    network = weights.network
    layers = list(network.layers(weights.parameters))
    strengths = [np.zeros(size) for size in network.sizes]
    for place, layer in enumerate(layers):
        sizes = np.nan_to_num(np.abs(layer.weights.astype(np.float64)), nan=0.0, posinf=0.0)
        strengths[place] += sizes.sum(axis=1)
        strengths[place + 1] += sizes.sum(axis=0)
    shown = tuple(tuple(sorted(np.argsort(-each, kind="stable")[:MOST_NEURONS].tolist())) for each in strengths)
    tallest = max(len(each) for each in shown)
    names = _names(network, weights.encoding)
    return Layout(tuple(network.sizes), shown, names, TOP + SPACE * tallest + 22)


def draw_weights(weights: Weights, plan: Layout) -> Markup:
    """Return the drawing with a line for each weight: the thicker, the larger; dashed below zero."""
    lines: list[Markup] = []
    for hop, layer in enumerate(weights.network.layers(weights.parameters)):
        lines += _weights_of(layer, hop, plan)

    def neuron(layer: int, place: int, number_: int) -> Markup:
        x, y = plan.at(layer, place)
        says = plan.name(layer, number_)
        if layer:
            bias = list(weights.network.layers(weights.parameters))[layer - 1].bias[number_]
            says = f"{says}: bias {number(float(bias))}"
        return tag("circle", tag("title", says), cx=x, cy=y, r=RADIUS, class_="neuron")

    return _drawing("the network", plan, lines, neuron, weights.network)


def draw_signals(snapshots: Sequence[Snapshot], plan: Layout, network: Network) -> Markup:
    """Return the drawing with neurons shaded by the error signal that reaches them, at the last snapshot; a script shows others."""
    shade = [shades([each]) for each in snapshots]
    lines = [
        tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="faint")
        for layer in range(len(plan.sizes) - 1)
        for x1, y1 in (plan.at(layer, place) for place in range(len(plan.shown[layer])))
        for x2, y2 in (plan.at(layer + 1, place) for place in range(len(plan.shown[layer + 1])))
    ]

    def neuron(layer: int, place: int, number_: int) -> Markup:
        x, y = plan.at(layer, place)
        values = [float(each.layers[layer][number_]) for each in snapshots]
        dark = [round(each(value), 3) for each, value in zip(shade, values, strict=True)]
        name = plan.name(layer, number_)
        circle = tag(
            "circle",
            tag("title", f"{name}: {number(values[-1])}"),
            cx=x,
            cy=y,
            r=RADIUS,
            class_="glow",
            fill_opacity=dark[-1],
            data_name=name,
            data_shades=" ".join(map(str, dark)),
            data_values=" ".join(number(value) for value in values),
        )
        return tag("g", tag("circle", cx=x, cy=y, r=RADIUS, class_="ground"), circle)

    return _drawing("the error signal in the network", plan, lines, neuron, network)


def shades(snapshots: Sequence[Snapshot]) -> Callable[[float], float]:
    """Return how dark a size of the error signal is drawn, 0 to 1: on a logarithmic scale over all that the snapshots have."""
    values = np.concatenate([layer for each in snapshots for layer in each.layers])
    seen = values[np.isfinite(values) & (values > 0)]
    if not len(seen):
        return lambda value: 0.0
    high = math.log10(float(seen.max()))
    low = min(max(math.log10(float(seen.min())), high - MOST_DECADES), high - FEWEST_DECADES)

    def shade(value: float) -> float:
        if not math.isfinite(value):
            return 1.0
        if value <= 0:
            return 0.0
        return min(1.0, max(0.05, (math.log10(value) - low) / (high - low)))

    return shade


def _weights_of(layer: LayerParameters, hop: int, plan: Layout) -> list[Markup]:
    ins, outs = plan.shown[hop], plan.shown[hop + 1]
    part: NDArray[np.float64] = layer.weights[np.ix_(ins, outs)].astype(np.float64)
    largest = float(np.abs(part).max()) or 1.0
    lines = []
    for place in np.argsort(np.abs(part), axis=None, kind="stable").tolist():  # the thickest on top
        source, target = divmod(place, len(outs))
        value = float(part[source, target])
        share = abs(value) / largest if math.isfinite(value) and math.isfinite(largest) else 1.0
        (x1, y1), (x2, y2) = plan.at(hop, source), plan.at(hop + 1, target)
        says = f"{plan.name(hop, ins[source])} to {plan.name(hop + 1, outs[target])}: weight {number(value)}"
        lines.append(
            tag(
                "line",
                tag("title", says),
                x1=x1,
                y1=y1,
                x2=x2,
                y2=y2,
                class_="weight below" if value < 0 else "weight",
                stroke_width=round(0.3 + 3.0 * share, 2),
                stroke_opacity=round(0.12 + 0.78 * share, 2),
            )
        )
    return lines


def _drawing(
    title: str, plan: Layout, lines: Sequence[Markup], neuron: Callable[[int, int, int], Markup], network: Network
) -> Markup:
    parts = list(lines)
    last = len(plan.sizes) - 1
    for layer, shown in enumerate(plan.shown):
        x, _ = plan.at(layer, 0)
        parts.append(tag("text", _heading(layer, plan, network), x=x, y=14, class_="small middle"))
        parts += [neuron(layer, place, each) for place, each in enumerate(shown)]
        if layer in (0, last):
            for place, each in enumerate(shown):
                _, y = plan.at(layer, place)
                side = {"x": x - 14, "class_": "small end"} if layer == 0 else {"x": x + 14, "class_": "small"}
                name = plan.name(layer, each)
                parts.append(tag("text", shortened(name, 13), tag("title", name), y=y + 4, **side))
        if len(shown) < plan.sizes[layer]:
            left = plan.sizes[layer] - len(shown)
            parts.append(tag("text", f"+ {left:,} more", x=x, y=plan.height - 4, class_="small middle"))
    width, height = plan.width, plan.height
    box = f"0 0 {width} {height}"
    svg = tag("svg", *parts, viewBox=box, width=width * 1.25, height=height * 1.25, role="img", aria_label=title)
    return tag("div", svg, class_="scroll net")


def _heading(layer: int, plan: Layout, network: Network) -> str:
    if layer == 0:
        return f"{plan.sizes[0]} in"
    return f"{plan.sizes[layer]} {network.activations[layer - 1]}"


def _layer_name(layer: int, layers: int) -> str:
    return "inputs" if layer == 0 else "outputs" if layer == layers - 1 else f"neurons of layer {layer}"


def _names(network: Network, encoding: Encoding | None) -> tuple[tuple[str, ...], ...]:
    """Return the names of inputs and outputs where each has one."""
    hidden: tuple[tuple[str, ...], ...] = tuple(() for _ in network.sizes[1:-1])
    if encoding is None:
        return ((), *hidden, ())
    inputs = encoding.input_names if len(encoding.input_names) == network.sizes[0] else ()
    outputs = encoding.targets
    if encoding.task == "classification":
        classes = tuple(map(str, encoding.classes))
        outputs = classes if len(classes) == network.sizes[-1] else classes[1:]
    return (inputs, *hidden, outputs if len(outputs) == network.sizes[-1] else ())
