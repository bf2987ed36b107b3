"""An SVG file as a part of an HTML page: names made unique, nothing that runs or that reaches outside."""

import re
import xml.etree.ElementTree as ET

from replacement_model.errors import InputError

__all__ = ["inline_svg"]

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
DRAWN = frozenset(
    {"svg", "g", "defs", "title", "desc", "a", "text", "tspan", "path", "rect", "circle", "ellipse", "line", "polyline"}
    | {"polygon", "use", "image", "clipPath", "mask", "marker", "pattern", "linearGradient", "radialGradient", "stop"}
    | {"style"}
)
ONE_RULE = re.compile(r"\s*\*\s*\{([^{}@]*)\}\s*")  # Matplotlib's style: lines joined round, everywhere
REFERENCE = re.compile(r"url\(\s*['\"]?#([^'\")]+)['\"]?\s*\)")


def inline_svg(svg: bytes, prefix: str, description: str) -> str:
    """The `svg` element for a page.

    Args:
        svg: a whole SVG file, of Matplotlib or Graphviz.
        prefix: put before every id, so that several pictures on a page do not share one.
        description: what it shows, for those who do not see it.

    Raises:
        InputError: it is no SVG, or holds elements that such pictures do not have.
    """
    try:
        root = ET.fromstring(svg)
    except ET.ParseError as error:
        raise InputError(f"expected an SVG, got something else ({error}); draw the figure again") from error
    if root.tag != f"{SVG}svg":
        raise InputError(f"expected an SVG, got an XML file of {root.tag}; draw the figure again")
    for parent in list(root.iter()):
        for child in list(parent):
            if not child.tag.startswith(SVG) or child.tag == f"{SVG}metadata":
                parent.remove(child)
    for element in root.iter():
        _adapt(element, prefix)
    root.attrib |= {"id": f"{prefix}svg", "role": "img", "aria-label": description}
    return ET.tostring(root, encoding="unicode")


def _adapt(element: ET.Element, prefix: str) -> None:
    element.tag = element.tag.removeprefix(SVG)
    if element.tag not in DRAWN:
        raise InputError(f"expected a picture made of {', '.join(sorted(DRAWN))}, got {element.tag!r}; draw it again")
    if element.tag == "style":
        rule = ONE_RULE.fullmatch(element.text or "")
        if rule is None:
            raise InputError(f"expected one style rule for everything in an SVG, got {element.text!r}; draw it again")
        element.text = f"#{prefix}svg *{{{rule[1]}}}"  # alone it would be one for the whole page
    attributes = {name: value for name, value in element.attrib.items() if not name.startswith("on")}
    element.attrib.clear()
    for name, value in attributes.items():
        if name in (LINK, "href"):
            if not _stays(element.tag, value):
                continue
            element.set("href", f"#{prefix}{value[1:]}" if value.startswith("#") else value)
        elif name == "id":
            element.set("id", f"{prefix}{value}")
        elif not name.startswith("{") or name.endswith("}space"):
            element.set(name, REFERENCE.sub(rf"url(#{prefix}\1)", value))


def _stays(tag: str, link: str) -> bool:
    """Whether a link leads to the picture itself, or holds the pixels of an image."""
    return link.startswith("#") or (tag == "image" and link.startswith("data:image/png;base64,"))
