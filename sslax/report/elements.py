"""Small pieces of HTML that the sections of a page are built from."""

import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any


def escape(value: object) -> str:
    """Escape `value` as plain text in HTML. Control characters, which HTML cannot represent, become �."""
    return html.escape(re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", str(value)))


def paragraph(*sentences: str) -> str:
    """Join sentences, which are HTML, into one paragraph."""
    return f"<p>{' '.join(sentences)}</p>"


def table(rows: Iterable[str], of: str, head: str = "") -> str:
    """A table of HTML rows that scrolls on a narrow page; `of` is its CSS class."""
    return f'<div class="scroll"><table class="{of}">{head}<tbody>{"".join(rows)}</tbody></table></div>'


def picture(uri: str, alt: str, of: str, caption: str = "") -> str:
    """A figure with an HTML caption; `of` is its CSS class."""
    caption = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure class="{of}"><img class="drawn" src="{uri}" alt="{alt}">{caption}</figure>'


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested values into texts by dotted name. Values are written as JSON, strings without quotes."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
            flat[f"{prefix}{key}"] = text
    return flat


def pairs(values: Mapping[str, str]) -> str:
    """A table of names and values, both plain text; empty if there are no values."""
    lines = (f'<tr><th scope="row">{escape(key)}</th><td>{escape(value)}</td></tr>' for key, value in values.items())
    return table(lines, "pairs") if values else ""


def settings(config: Mapping[str, Any]) -> str:
    """Tables of a nested configuration by dotted name; empty if the configuration is empty."""
    # First a table of the fields that are not nested, then one per nested group. A wide page shows them in two columns.
    groups = [{key: value for key, value in config.items() if not isinstance(value, Mapping)}]
    groups += [{key: value} for key, value in config.items() if isinstance(value, Mapping)]
    return f'<div class="columns">{"".join(pairs(flatten(group)) for group in groups)}</div>' if config else ""
