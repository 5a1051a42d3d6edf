"""Names in documents are kept for ever by libxml2, so documents may bring only so many that nobody knows.

lxml shares one dictionary of names among all parsers of a thread and never empties it: a mebibyte of elements with
names of their own costs 3 MB of memory for the life of the process, each time. Expat, which keeps nothing, looks at the
names first. Those of the schemas are free; others fill a budget, and what goes beyond it is not parsed.
"""

import re
import string
from functools import cache
from pathlib import Path
from typing import Any
from xml.parsers import expat

from lxml import etree
from openleadr.messaging import XML_SCHEMA_LOCATION

from openadr.errors import UnsafeDocument

FOREIGN_MAX = 64
"""Names in one document that no schema has: prefixes, extensions."""
BUDGET_BYTES = 256 * 1024
"""Of foreign names in the life of a process; what libxml2 needs for them is about four times as much."""

_TOKENS_MAX = 20_000
_TOKEN = re.compile(rb"""(?:</?|[\s?])([^\s<>/="'&?!]+)""")
"""What could be a name: it follows `<`, `</`, `?` or white space."""
_SPACE = re.compile(rb"""\sxmlns(?::[^\s="'<>]*)?\s*=\s*("[^"]*|'[^']*)""")
"""White space comes before each attribute, and no name has any in it: without it `xmlns:xmlns:...` costs its square."""

_TEXT = re.compile(rb">[^<>]*<")
"""Between two tags. In well-formed XML no tag has a `<` in it, so it takes no part of one away."""
_SKELETON_BYTES_MAX = 8192
_SKELETONS_MAX = 1000

_ENTITY = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos|#x?[0-9a-fA-F]+);)")

_PREFIXES = (
    *string.ascii_lowercase,
    *(f"{letter}{number}" for letter in ("ns", "n", "p", "q", "tns") for number in range(40)),
    *("xmlns", "xml", "xsi", "xs", "oadr", "ei", "pyld", "xcal", "ical", "strm", "emix", "power", "scale", "siscale"),
    *("ds", "dsp", "dsig11", "gml", "gb", "atom", "espi", "payload", "oadr2b", "SOAP-ENV", "ns", "tns"),
)
_OTHERS = (
    "schemaVersion",
    "schemaLocation",
    "type",
    "nil",
    "lang",
    "space",
    "base",
    "id",
    "Id",
    "ID",
    "oadrSignedObject",
)


class Names:
    """The foreign names one process has let through."""

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        self._left_bytes = budget_bytes
        self._known: set[str] = set(_vocabulary())
        self._tokens: set[bytes] = {b"xml", b"version", b"encoding", b"standalone"}
        self._spaces: set[bytes] = set()
        self._skeletons: set[bytes] = set()

    def check(self, body: bytes) -> None:
        """Raises UnsafeDocument for a body that is not well-formed, or brings too many names."""
        # nearly all bodies: a well-formed one was there before that has other text between the same tags
        plain = b"&" not in body
        skeleton = _TEXT.sub(b"><", body) if plain else b""
        if skeleton in self._skeletons:
            return
        learning = plain and len(skeleton) <= _SKELETON_BYTES_MAX and len(self._skeletons) < _SKELETONS_MAX
        # whatever could be a name was looked at before
        tokens, declared = set(_TOKEN.findall(body)), _SPACE.findall(body)
        spaces = set(declared)
        # one `xmlns` in each: none is inside what was taken for the value of another
        known = tokens <= self._tokens and spaces <= self._spaces and body.count(b"xmlns") == len(declared)
        known = known and (plain or not _ENTITY.search(body))
        if known and not learning:
            return
        names, qualified = _names(body)
        self._admit(names - self._known)
        if learning:
            self._skeletons.add(skeleton)
        if len(self._tokens) < _TOKENS_MAX:
            passed = {name.encode() for name in qualified}
            self._tokens |= tokens & passed
            self._spaces |= {space for space in spaces if space[1:].decode() in names}

    def _admit(self, found: set[str]) -> None:
        if not found:
            return
        size = sum(map(len, found))
        if len(found) > FOREIGN_MAX or size > self._left_bytes:
            raise UnsafeDocument(f"the body has {len(found)} names that no schema of OpenADR knows")
        self._left_bytes -= size
        self._known |= found


def _names(body: bytes) -> tuple[set[str], set[str]]:
    """Prefixes, local names and namespaces of a document; and names as they are written."""
    qualified: set[str] = set()
    found: set[str] = set()

    def start(name: str, attributes: list[str]) -> None:
        qualified.add(name)
        if attributes:
            names = attributes[::2]
            qualified.update(names)
            for place, each in enumerate(names):
                if each.startswith("xmlns"):
                    found.add(attributes[2 * place + 1])

    parser: Any = expat.ParserCreate("utf-8")
    parser.ordered_attributes = True
    parser.StartElementHandler = start
    parser.ProcessingInstructionHandler = lambda target, _: qualified.add(target)
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError) as error:
        raise UnsafeDocument(f"the body is not well-formed XML: {str(error)[:200]}") from None
    for name in qualified:
        found.update(name.split(":"))
    return found, qualified


@cache
def _vocabulary() -> frozenset[str]:
    """What the schemas name, and prefixes in use."""
    found = {*_PREFIXES, *_OTHERS, "", "http://www.w3.org/2001/XMLSchema-instance"}
    for path in Path(XML_SCHEMA_LOCATION).parent.glob("*.xsd"):
        root = etree.parse(str(path)).getroot()
        found.update(str(uri) for uri in root.nsmap.values())
        for node in root.iter("{*}element", "{*}attribute"):
            found.update(value.rpartition(":")[2] for value in (node.get("name"), node.get("ref")) if value)
    return frozenset(found)
