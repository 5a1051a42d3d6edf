"""The OpenADR 2.0b schema: the compiled XSD of openleadr's wheel, its namespaces, and the order it declares.

The XSD is used where the wheel has it, never copied. Besides validating, it tells which children an element may have in
which order; that is all that is needed to put a peer's shuffled elements right.
"""

from functools import cache
from pathlib import Path
from typing import Any

from lxml import etree
from openleadr.messaging import XML_SCHEMA, XML_SCHEMA_LOCATION

OADR = "{http://openadr.org/oadr-2.0b/2012/07}"
EI = "{http://docs.oasis-open.org/ns/energyinterop/201110}"
PYLD = "{http://docs.oasis-open.org/ns/energyinterop/201110/payloads}"
XCAL = "{urn:ietf:params:xml:ns:icalendar-2.0}"
STRM = "{urn:ietf:params:xml:ns:icalendar-2.0:stream}"
EMIX = "{http://docs.oasis-open.org/ns/emix/2011/06}"
POWER = "{http://docs.oasis-open.org/ns/emix/2011/06/power}"
SCALE = "{http://docs.oasis-open.org/ns/emix/2011/06/siscale}"

_XS = "{http://www.w3.org/2001/XMLSchema}"
_FILES = ("20b", "ei_20b", "pyld_20b", "xcal_20b", "strm_20b", "emix_20b", "power_20b", "siscale_20b")


def schema_error(root: Any) -> str | None:
    """What the schema has against the tree under `root`, None if nothing."""
    if XML_SCHEMA.validate(root):
        return None
    entry = XML_SCHEMA.error_log.last_error
    return "refused by the schema" if entry is None else f"line {entry.line}: {entry.message}"[:400]


def put_in_order(root: Any) -> list[str]:
    """Sort the children of every element as the schema declares, in place. Returns the names whose children moved.

    An element with a child the schema does not know there is left alone: validation says what is wrong with it.
    """
    grammar = _grammar()
    declaration = grammar.elements.get(root.tag)
    moved: list[str] = []
    if declaration is not None:
        _sort(grammar, root, declaration, moved)
    return moved


def _sort(grammar: "_Grammar", element: Any, declaration: Any, moved: list[str]) -> None:
    places = grammar.places(declaration)
    children = list(element)
    if not all(child.tag in places for child in children):
        return
    in_order = sorted(children, key=lambda child: places[child.tag][0])
    if in_order != children:
        element[:] = in_order
        moved.append(etree.QName(element).localname)
    for child in in_order:
        _sort(grammar, child, places[child.tag][1], moved)


class _Grammar:
    """Element declarations and types of the schema files, by qualified name."""

    def __init__(self, roots: list[Any]) -> None:
        self.elements: dict[str, Any] = {}
        self.types: dict[str, Any] = {}
        self.substitutes: dict[str, list[str]] = {}
        self._places: dict[Any, dict[str, tuple[int, Any]]] = {}
        for root in roots:
            namespace = root.get("targetNamespace")
            for node in root:
                if node.tag == _XS + "element":
                    name = f"{{{namespace}}}{node.get('name')}"
                    self.elements[name] = node
                    if head := node.get("substitutionGroup"):
                        self.substitutes.setdefault(_qualified(node, head), []).append(name)
                elif node.tag == _XS + "complexType":
                    self.types[f"{{{namespace}}}{node.get('name')}"] = node

    def places(self, declaration: Any) -> dict[str, tuple[int, Any]]:
        """Allowed children of a declared element: name -> (place in the order, its declaration)."""
        if declaration not in self._places:
            found: dict[str, tuple[int, Any]] = {}
            type_name = declaration.get("type")
            content = declaration.find(_XS + "complexType")
            if type_name:
                content = self.types.get(_qualified(declaration, type_name))
            if content is not None:
                self._collect(content, found)
            self._places[declaration] = found
        return self._places[declaration]

    def _collect(self, node: Any, found: dict[str, tuple[int, Any]]) -> None:
        for child in node:
            if child.tag == _XS + "element":
                self._add(child, found)
            elif child.tag == _XS + "extension":
                base = self.types.get(_qualified(child, child.get("base")))
                if base is not None:
                    self._collect(base, found)
                self._collect(child, found)
            elif child.tag in (_XS + "sequence", _XS + "choice", _XS + "complexContent", _XS + "restriction"):
                self._collect(child, found)

    def _add(self, node: Any, found: dict[str, tuple[int, Any]]) -> None:
        place = len(found)
        reference = node.get("ref")
        if not reference:
            namespace = node.getroottree().getroot().get("targetNamespace")
            found.setdefault(f"{{{namespace}}}{node.get('name')}", (place, node))
            return
        names = [_qualified(node, reference)]
        while names:
            name = names.pop()
            if name in self.elements:
                found.setdefault(name, (place, self.elements[name]))
            names.extend(self.substitutes.get(name, ()))


@cache
def _grammar() -> _Grammar:
    folder = Path(XML_SCHEMA_LOCATION).parent
    return _Grammar([etree.parse(str(folder / f"oadr_{name}.xsd")).getroot() for name in _FILES])


def _qualified(node: Any, name: str) -> str:
    prefix, _, local = name.rpartition(":")
    return f"{{{node.nsmap[prefix or None]}}}{local}"
