"""JSON as it is written to files."""

import json
import re
from typing import Any

__all__ = ["encoded"]


def encoded(value: Any) -> bytes:
    """JSON as it is written to files: UTF-8, compact, equal bytes for equal values.

    Lone surrogates, which no UTF-8 file can hold, are written as JSON escapes.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text).encode() + b"\n"
