"""What the sections of a page are made of."""

import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any


def escape(value: object) -> str:
    """`value` so that it is nothing but text in HTML; control characters, which HTML has no way to write, become �."""
    return html.escape(re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", str(value)))


def paragraph(*sentences: str) -> str:
    """A paragraph of sentences in HTML: what is not plain in them has been escaped."""
    return f"<p>{' '.join(sentences)}</p>"


def table(rows: Iterable[str], of: str, head: str = "") -> str:
    """A table of rows in HTML, `<tr>` and all, that scrolls where it is too wide; `of` is its class."""
    return f'<div class="scroll"><table class="{of}">{head}<tbody>{"".join(rows)}</tbody></table></div>'


def figure(uri: str, alt: str, of: str, caption: str = "") -> str:
    """A drawn figure as a data URI, with a caption in HTML; `of` is its class."""
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
