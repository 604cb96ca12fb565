"""The dashboard shows what telemetry exports, and all of it; how Ray names it is tested with the endpoint in test_telemetry."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from dbp.workers.telemetry import COUNTERS, GAUGES, LABEL

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARD = json.loads((FOLDER / "dbp.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
EXPORTED = {f"ray_{name}" for name in (*GAUGES, *COUNTERS)}
RATED = re.compile(r"\brate\((\w+)\{")


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\bray_\w+", text))


def test_every_metric_in_it_is_exported_and_every_exported_metric_is_in_it():
    assert set().union(*map(metrics_in, EXPRESSIONS)) == EXPORTED
    assert metrics_in(VARIABLES["job"]["definition"]) <= EXPORTED


def test_every_expression_asks_for_the_chosen_jobs_by_the_label_that_telemetry_sets():
    for expression in EXPRESSIONS:
        assert len(re.findall(r"ray_\w+", expression)) == expression.count(f'{{{LABEL}=~"$job"}}')
        assert expression.count("(") == expression.count(")")
    assert VARIABLES["job"]["definition"] == f"label_values(ray_dbp_step, {LABEL})"


def test_what_flows_is_shown_as_a_rate_and_what_is_rare_as_a_count():
    """A series begins with its first event, which `increase` does not see: it would hide the first worker that died."""
    rated = {name for expression in EXPRESSIONS for name in RATED.findall(expression)}
    assert rated == {"ray_dbp_steps_total", "ray_dbp_checkpoint_seconds_total"}
    assert not any("increase(" in expression for expression in EXPRESSIONS)


def test_panels_have_ids_and_places_of_their_own():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert all(panel["title"] and panel["description"] for panel in panels)


def test_the_datasource_and_the_job_are_chosen_by_who_looks():
    assert VARIABLES.keys() == {"datasource", "job"}
    assert VARIABLES["datasource"]["type"] == "datasource"
    assert VARIABLES["datasource"]["query"] == "prometheus"
    asked = [panel["datasource"] for panel in DASHBOARD["panels"]]
    asked += [target["datasource"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in asked)


def test_prometheus_is_told_where_the_other_files_put_the_metrics():
    jobs = {job["job_name"]: job for job in yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]}
    compose = yaml.safe_load((FOLDER.parent / "compose.yaml").read_text())
    (names,) = jobs["ray-compose"]["dns_sd_configs"]
    assert set(names["names"]) == compose["services"].keys()
    for service in compose["services"].values():
        assert f"--metrics-export-port={names['port']}" in service["command"]
