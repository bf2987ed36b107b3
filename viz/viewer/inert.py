"""JSON inside of HTML: the same to whoever parses it, and nothing in it that ends the element it is in."""

import re
from typing import Any

from viz.exchange.encoding import encoded

__all__ = ["inert", "size_in_page"]


def inert(value: Any) -> str:
    r"""JSON without `<`, `>` and `&`, nor the two line ends that JavaScript once refused in texts.

    >>> inert({"text": "</script>"})
    '{"text":"\\u003c/script\\u003e"}'
    """
    text = encoded(value).decode().rstrip("\n")
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)


def size_in_page(value: Any) -> int:
    """How many bytes it takes there."""
    return len(inert(value).encode())
