"""Green Button feeds: Atom documents that 2.0b carries as they are, taken out of a message as text and put back.

What is taken out was parsed without entities, so the text is plain XML that declares every namespace it uses.
"""

from copy import deepcopy
from typing import Any

from lxml import etree

from openadr.errors import RenderError, ResponseCode
from openadr.v2.document.safe import parse_safely

ATOM = "{http://www.w3.org/2005/Atom}"
_NAMED_IN_VALUES = ["xsi", "xs", "espi"]
"""Prefixes that stand in values too (xsi:type), where nothing shows that they are in use."""


def read_feed(parent: Any) -> str:
    """The atom:feed under an element of a valid document, without the namespaces of the message around it."""
    feed = deepcopy(parent.find(ATOM + "feed"))
    etree.cleanup_namespaces(feed, keep_ns_prefixes=_NAMED_IN_VALUES)
    text: str = etree.tostring(feed, encoding="unicode", with_tail=False)
    return text


def checked_feed(text: str) -> str:
    """A feed as it may stand in a message. Raises RenderError for anything that is no Atom feed."""
    root = parse_safely(text.encode())
    if root.tag != ATOM + "feed":
        raise RenderError("Green Button data is an Atom feed", ResponseCode.INVALID_DATA)
    plain: str = etree.tostring(root, encoding="unicode")
    return plain
