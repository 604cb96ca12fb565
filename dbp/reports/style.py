"""The page's style and its script. The page allows these two, by their hashes, and nothing else."""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1b2026; --soft: #5d6773; --rule: #dfe3e8; --card: #f6f7f9;
  --a: #1f66c1; --b: #c2571a; --c: #2c8a57; --d: #8a4fbf; --e: #b0892b; --f: #44808c; --g: #c2418c; --h: #6b6f76; --bad: #b3261e;
  --warm: #d2571b; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --ink: #e4e7eb; --soft: #9aa4b0; --rule: #313842;
  --card: #1c2127; --a: #6ea8f0; --b: #ee9658; --c: #66c08f; --d: #bd92e6; --e: #d8b565; --f: #7cb9c4; --g: #ee86bf; --h: #a9adb5;
  --bad: #f2837b;  --warm: #ef8a4a; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
main, header, footer { max-width: 1180px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 26px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 0 0 10px; }
h3 { font-size: 15px; margin: 18px 0 6px; }
p { margin: 6px 0; max-width: 78ch; }
nav { margin: 12px 0 0; display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 14px; }
a { color: var(--a); text-decoration: none; }
a:hover { text-decoration: underline; }
section { border-top: 1px solid var(--rule); margin-top: 26px; padding-top: 20px; }
.state { display: inline-block; font-weight: 600; font-size: 13px; padding: 1px 9px; border-radius: 10px; color: var(--ground);
  background: var(--soft); vertical-align: 3px; margin-left: 8px; }
.SUCCEEDED { background: var(--c); } .FAILED, .LOST { background: var(--bad); } .RUNNING { background: var(--a); }
.soft, .note, figcaption { color: var(--soft); }
.note { border-left: 3px solid var(--rule); padding-left: 10px; }
.warned { border-left: 3px solid var(--warm); padding-left: 10px; }
dl { display: grid; grid-template-columns: minmax(110px, max-content) 1fr; gap: 3px 18px; margin: 8px 0; }
dt { color: var(--soft); } dd { margin: 0; min-width: 0; font-variant-numeric: tabular-nums; }
code, pre { font: 13px/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { background: var(--card); padding: 10px 12px; border-radius: 6px; overflow-x: auto; overflow-wrap: normal; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: 10px; margin: 14px 0; }
.tile { background: var(--card); border-radius: 8px; padding: 9px 12px; min-width: 0; }
.tile b { display: block; font-size: 20px; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 10px 26px; }
figure { margin: 8px 0; min-width: 0; max-width: 560px; }
figcaption { font-size: 13px; } figcaption b { color: var(--ink); font-size: 14px; }
.key { margin-left: 10px; white-space: nowrap; } .key::before { content: ""; display: inline-block; width: 14px; height: 3px;
  background: currentColor; margin-right: 5px; vertical-align: 4px; }
.readout { font-size: 13px; color: var(--soft); display: block; min-height: 20px; font-variant-numeric: tabular-nums; }
svg { display: block; } .chart { width: 100%; height: auto; touch-action: pan-y; }
svg text { fill: var(--ink); font-size: 12px; } svg text.small { fill: var(--soft); font-size: 11px; }
.middle { text-anchor: middle; } .end { text-anchor: end; }
.rule { stroke: var(--rule); } .cursor { stroke: var(--soft); stroke-dasharray: 2 2; } .same { stroke: var(--soft);
  stroke-dasharray: 4 3; }
.line { fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linejoin: round; } .dot { fill: currentColor; }
.points circle { fill: var(--a); fill-opacity: .45; }
.s0 { color: var(--a); } .s1 { color: var(--b); } .s2 { color: var(--c); } .s3 { color: var(--d); } .s4 { color: var(--e); }
.s5 { color: var(--f); } .s6 { color: var(--g); } .s7 { color: var(--h); }
.scroll { overflow-x: auto; max-width: 100%; padding-bottom: 4px; }
.net svg { max-width: none; }
.shade { fill: var(--a); } .heat .shade, .glow { fill: var(--warm); } .cell { font-variant-numeric: tabular-nums; }
.weight { stroke: var(--a); } .weight.below { stroke: var(--b); stroke-dasharray: 7 3; } .faint { stroke: var(--rule); }
.neuron, .ground { fill: var(--ground); stroke: var(--soft); stroke-width: 1.2; } .glow { stroke: var(--soft); stroke-width: 1.2; }
.plus { color: var(--a); } .minus { color: var(--b); }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { overflow-wrap: normal; text-align: right; padding: 4px 12px 4px 0;
  border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } th.left, td.left { text-align: left; }
ol.log { padding-left: 20px; font-size: 14px; }
details summary { cursor: pointer; color: var(--a); margin: 8px 0; }
label.slide { display: flex; align-items: center; gap: 12px; flex-wrap: wrap; max-width: 560px; margin: 8px 0; }
label.slide input { flex: 1 1 200px; accent-color: var(--warm); } label.slide output { min-width: 110px; font-weight: 600; }
footer { color: var(--soft); font-size: 13px; margin-top: 30px; padding-bottom: 40px; border-top: 1px solid var(--rule);
  padding-top: 12px; }
@media (max-width: 560px) { main, header, footer { padding-left: 14px; padding-right: 14px; } h1 { font-size: 22px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 6px; } .net svg { zoom: .7; } }
@media print { :root { color-scheme: light; --ground: #fff; --ink: #000; --soft: #444; --rule: #ccc; --card: #f4f4f4;
  --a: #1f66c1; --b: #c2571a; --warm: #d2571b; } nav, label.slide, .readout { display: none; }
  section { break-inside: auto; } figure, table, .scroll { break-inside: avoid; } .scroll { overflow: visible; }
  .scroll svg { max-width: 100%; height: auto; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""

SCRIPT = """
"use strict";
for (const chart of document.querySelectorAll("figure")) {
  const svg = chart.querySelector("svg.chart"), out = chart.querySelector(".readout");
  const cursor = svg && svg.querySelector(".cursor");
  if (!out || !cursor) continue;
  const lines = [...svg.querySelectorAll("polyline")].map(line => ({
    label: line.dataset.label, x: line.dataset.x.split(" "), y: line.dataset.y.split(" "),
    at: line.getAttribute("points").split(" ").map(point => parseFloat(point)) }));
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    let best = 0, seen = Infinity, place = 0;
    for (const line of lines) line.at.forEach((at, index) => {
      if (Math.abs(at - x) < seen) { seen = Math.abs(at - x); best = line.x[index]; place = at; } });
    const told = lines.filter(line => line.x.includes(best)).map(line => line.label + " " + line.y[line.x.indexOf(best)]);
    cursor.setAttribute("x1", place); cursor.setAttribute("x2", place); cursor.setAttribute("visibility", "visible");
    out.textContent = "step " + best + ": " + told.join(", ");
  });
}
const slider = document.querySelector("#when");
if (slider) {
  const names = slider.dataset.labels.split("\\n"), told = document.querySelector("#when-label");
  const glows = [...document.querySelectorAll(".glow")].map(glow => ({ glow, title: glow.querySelector("title"),
    shades: glow.dataset.shades.split(" "), values: glow.dataset.values.split(" ") }));
  slider.addEventListener("input", () => {
    told.textContent = names[slider.value];
    for (const each of glows) {
      each.glow.setAttribute("fill-opacity", each.shades[slider.value]);
      each.title.textContent = each.glow.dataset.name + ": " + each.values[slider.value];
    }
  });
}
"""


def policy() -> str:
    """Return the page's Content-Security-Policy: nothing is loaded, and no style or script runs but these."""
    return f"default-src 'none'; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
