"""Pages are made of escaped text."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from dbp.reports.markup import tag, text


class Reader(HTMLParser):
    """What a browser would take for elements, attributes and text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.words += data


@given(st.text())
def test_any_text_stays_text(value: str) -> None:
    """In an element and in an attribute; what can be seen is read back as it was."""
    reader = Reader()
    reader.feed(tag("p", value, data_name=value))
    reader.close()
    ((name, attributes),) = reader.elements
    assert name == "p"
    assert attributes == {"data-name": reader.words}
    if value.isprintable():
        assert reader.words == value


def test_what_cannot_be_seen_is_spelled_out() -> None:
    """Control characters, and marks that turn the direction of writing."""
    assert text("a\x00b\x1b[31m\u202ec\ud800") == "a\\x00b\\x1b[31m\\u202ec\\ud800"
