"""What the sections of a page are put together from: small pieces of HTML."""

import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any


def escape(value: object) -> str:
    """`value` so that it is nothing but text in HTML; control characters, which HTML has no way to write, become �."""
    return html.escape(re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", str(value)))


def paragraph(*sentences: str) -> str:
    """Sentences of HTML as one paragraph."""
    return f"<p>{' '.join(sentences)}</p>"


def table(rows: Iterable[str], of: str, head: str = "") -> str:
    """A table of rows of HTML that scrolls where the page is narrow; `of` is its class in the CSS."""
    return f'<div class="scroll"><table class="{of}">{head}<tbody>{"".join(rows)}</tbody></table></div>'


def picture(uri: str, alt: str, of: str, caption: str = "") -> str:
    """A drawn figure, with a caption of HTML; `of` is its class in the CSS."""
    caption = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure class="{of}"><img class="drawn" src="{uri}" alt="{alt}">{caption}</figure>'


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as text by dotted name; what JSON can write is written as JSON, text without its quotes."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
            flat[f"{prefix}{key}"] = text
    return flat


def pairs(values: Mapping[str, str]) -> str:
    """A table of names and values, plain text both; nothing where there are none."""
    lines = (f'<tr><th scope="row">{escape(key)}</th><td>{escape(value)}</td></tr>' for key, value in values.items())
    return table(lines, "pairs") if values else ""


def settings(config: Mapping[str, Any]) -> str:
    """A nested configuration by dotted name; nothing where it is empty."""
    # What is not nested first, then a table for each group, which a wide page sets beside each other.
    groups = [{key: value for key, value in config.items() if not isinstance(value, Mapping)}]
    groups += [{key: value} for key, value in config.items() if isinstance(value, Mapping)]
    return f'<div class="columns">{"".join(pairs(flatten(group)) for group in groups)}</div>' if config else ""
