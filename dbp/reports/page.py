"""The page as a whole."""

from __future__ import annotations

from dbp.reports import learned, sections
from dbp.reports.facts import Facts
from dbp.reports.markup import Markup, join, tag
from dbp.reports.style import SCRIPT, STYLE, policy

# id, heading, what stands below it; None where a job has no such thing.
SECTIONS = (
    ("summary", "Summary", sections.summary),
    ("runs", "Runs", sections.runs),
    ("curves", "Curves", sections.curves),
    ("network", "Network", sections.network),
    ("signals", "Error signals", learned.signals),
    ("outcome", "Validation rows", learned.outcome),
    ("data", "Data", sections.data),
    ("environment", "Environment", sections.environment),
    ("checksums", "Checksums", sections.checksums),
    ("warnings", "Warnings", sections.warnings),
)


def page(facts: Facts) -> str:
    """Return the report: one HTML page that loads nothing."""
    bodies = [(name, heading, body) for name, heading, make in SECTIONS if (body := make(facts)) is not None]
    title = f"{facts.view.job} – dbp"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy()),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    links = [tag("a", heading, href=f"#{name}") for name, heading, _ in bodies]
    state = tag("span", facts.view.state, class_=f"state {facts.view.state}")
    named = tag("p", f"Job {facts.job.name}", class_="soft") if facts.job.name != facts.view.job else None
    top = tag("header", tag("h1", facts.view.job, " ", state), named, tag("nav", *links))
    parts = [tag("section", tag("h2", heading), body, id=name) for name, heading, body in bodies]
    made = f"Made {facts.made} by dbp {facts.version}, from the job's directory and its table as they were then."
    body = tag("body", top, tag("main", *parts), tag("footer", made), tag("script", Markup(SCRIPT)))
    return join([Markup("<!DOCTYPE html>\n"), tag("html", head, body, lang="en"), "\n"])
