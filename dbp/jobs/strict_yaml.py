"""YAML as people read it: YAML 1.2 scalars, and nothing that can surprise.

PyYAML reads 1e-3 as text, 010 as 8 and `no` as false, keeps the last of two equal keys, and follows aliases and tags. A job file
needs none of that. Here the values are built from the parser's events: no constructor is ever called, aliases, anchors, tags, merge
keys and second documents are refused, and so is nesting deeper than anyone writes by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import yaml

from dbp.errors import Problem
from dbp.jobs.wording import key_path, printable, show

YamlValue: TypeAlias = "dict[str, YamlValue] | list[YamlValue] | str | int | float | bool | None"

MAX_DEPTH = 20

# The C scanner reads a megabyte in a tenth of a second instead of ten; both give the same events.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")
_MAX_DIGITS = 400  # no float has more; and Python's own limit would end in an exception


class _RefusedError(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def parse_yaml(text: str) -> tuple[YamlValue, list[Problem]]:
    """Return the value that `text` stands for and everything wrong with it as YAML (line and column in each message).

    The value is None when a syntax error ended the reading. An empty text is None without a problem.
    """
    builder = _Builder()
    try:
        return builder.document(text), builder.problems
    except _RefusedError as refused:
        return None, [*builder.problems, refused.problem]
    except yaml.MarkedYAMLError as error:
        return None, [*builder.problems, Problem("", _syntax(error))]
    except UnicodeEncodeError:  # half a surrogate pair: bytes of a command line or file name that are not UTF-8
        return None, [*builder.problems, Problem("", "text that is not valid Unicode")]
    except yaml.reader.ReaderError as error:
        message = f"character {show(_character(error))} at position {error.position} is not allowed in YAML"
        return None, [*builder.problems, Problem("", message)]


def _character(error: yaml.reader.ReaderError) -> str:
    return chr(error.character) if isinstance(error.character, int) else str(error.character)


def _syntax(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    cause = printable(error.problem or error.context or "not YAML")
    around = f" ({printable(error.context)})" if error.context and error.problem else ""
    hint = "; indent with spaces, not tabs" if "start any token" in cause else ""
    return f"{place}{cause}{around}{hint}"


def _where(event: yaml.Event) -> str:
    mark = event.start_mark
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


class _Builder:
    """Builds one value from the events of one document."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._events: Iterator[yaml.Event] = iter(())

    def document(self, text: str) -> YamlValue:
        """Return the only document's value."""
        self._events = yaml.parse(text, Loader=_LOADER)
        next(self._events)  # the stream starts
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), "", 1)
        next(self._events)  # the document ends
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise _RefusedError(Problem("", f"{_where(event)}: a second document; expected only one"))
        return value

    def _value(self, event: yaml.Event, path: str, depth: int) -> YamlValue:
        self._refuse_features(event, path)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if depth > MAX_DEPTH:
            raise _RefusedError(Problem("", f"{_where(event)}: nested deeper than {MAX_DEPTH} levels"))
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path, depth)
        return self._mapping(path, depth)

    def _refuse_features(self, event: yaml.Event, path: str) -> None:
        if isinstance(event, yaml.AliasEvent):
            raise _RefusedError(Problem(path, f"{_where(event)}: aliases (*name) are not allowed; write the value out"))
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise _RefusedError(Problem(path, f"{_where(event)}: anchors (&name) are not allowed"))
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise _RefusedError(Problem(path, f"{_where(event)}: tags ({printable(tag)}) are not allowed"))

    def _list(self, path: str, depth: int) -> list[YamlValue]:
        values: list[YamlValue] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            values.append(self._value(event, f"{path}[{len(values)}]", depth + 1))
        return values

    def _mapping(self, path: str, depth: int) -> dict[str, YamlValue]:
        values: dict[str, YamlValue] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path)
            inner = key_path(path, key)
            value = self._value(next(self._events), inner, depth + 1)
            line = _line(event)
            if key in values:
                self.problems.append(Problem(inner, f"given twice, on lines {lines[key]} and {line}; expected once"))
                continue
            values[key] = value
            lines[key] = line
        return values

    def _key(self, event: yaml.Event, path: str) -> str:
        self._refuse_features(event, path)
        if not isinstance(event, yaml.ScalarEvent):
            raise _RefusedError(Problem(path, f"{_where(event)}: a key that is a list or mapping; expected text"))
        if event.value == "<<" and _is_plain(event):
            raise _RefusedError(Problem(path, f"{_where(event)}: merge keys (<<) are not allowed; write the keys out"))
        return event.value

    def _scalar(self, event: yaml.ScalarEvent, path: str) -> YamlValue:
        if not _is_plain(event):
            return event.value
        text = event.value
        if _LEADING_ZERO.fullmatch(text):
            plain = text.lstrip("+-0") or "0"
            message = f'{_short(text)} could mean two numbers; write {_short(plain)}, or "{_short(text)}" if it is text'
            self.problems.append(Problem(path, f"{_where(event)}: {message}"))
            return text
        if len(text) > _MAX_DIGITS and (_NUMBER.fullmatch(text) or _BASED.fullmatch(text)):
            self.problems.append(Problem(path, f"{_where(event)}: a number of {len(text):,} characters"))
            return text
        return plain_scalar(text)


def _is_plain(event: yaml.ScalarEvent) -> bool:
    return event.style in (None, "")


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "..."


def plain_scalar(text: str) -> str | int | float | bool | None:
    """Return what an unquoted scalar stands for in YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _NUMBER.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", ""))
    if _NAN.fullmatch(text):
        return float("nan")
    return text


class _Dumper(yaml.SafeDumper):
    """Block mappings, flow lists, no anchors; quotes all text that YAML 1.1 *or* 1.2 would read as something else."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_list(dumper: yaml.SafeDumper, data: list[object]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


def _represent_text(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
    # YAML 1.1 takes these for line breaks; between double quotes they are escaped.
    style = '"' if any(c in data for c in "\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)
for _tag, _pattern in (("float", _NUMBER), ("int", _BASED), ("int", _LEADING_ZERO)):
    _Dumper.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern.pattern})$"), list("-+.0123456789")
    )


def to_yaml(values: Mapping[str, YamlValue]) -> str:
    """Return YAML that `parse_yaml` (and any other YAML reader) reads as `values`."""
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
