"""From bytes to a tree that may be read: safe to parse, valid by the OpenADR 2.0b schema.

    bytes ── size, UTF-8, no DOCTYPE, names ── lxml without entities ── [leniency] ── XSD ── the message element

Validation runs on the finished tree. A parser that validates while it parses (`XMLParser(schema=...)`) crashes the
process on a body of 600 bytes with an internal entity, so none is ever built here.
"""

from typing import Any, TypeVar

from lxml import etree

from openadr.errors import MessageError, ResponseCode, SchemaViolation, UnsafeDocument
from openadr.v2.document.leniency import Leniency, repair_shape, repair_values
from openadr.v2.document.names import Names
from openadr.v2.document.schema import EI, OADR, PYLD, schema_error

Refusal = TypeVar("Refusal", bound=MessageError)

BODY_BYTES_MAX = 1024 * 1024
_DECLARED_MAX = 48
"""Declarations of namespaces around one element: canonical XML looks each up for each element, among all of them."""
_NAMES = Names()
_PARSER = etree.XMLParser(
    encoding="utf-8",
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    dtd_validation=False,
    attribute_defaults=False,
    huge_tree=False,
    remove_comments=True,
    remove_pis=True,
)
"""One for all documents: making one costs as much as reading a poll. A process reads messages in one thread."""


def parse_safely(body: bytes) -> Any:
    """Root element of a well-formed document. Raises UnsafeDocument; never resolves, loads or expands anything."""
    if len(body) > BODY_BYTES_MAX:
        raise UnsafeDocument(f"the body has {len(body)} bytes, at most {BODY_BYTES_MAX} are read")
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        raise UnsafeDocument("the body is not UTF-8") from None
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise UnsafeDocument("the body has a DOCTYPE", ResponseCode.NOT_ALLOWED)
    _NAMES.check(body)
    try:
        root = etree.fromstring(body, _PARSER)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise UnsafeDocument(f"the body is not well-formed XML: {str(error)[:200]}") from None
    if len(_PARSER.error_log):  # what lxml lets pass: prefixes nobody declared, which are no names
        raise UnsafeDocument(f"the body is not well-formed XML: {str(_PARSER.error_log[0].message)[:200]}")
    if root is None or root.getroottree().docinfo.internalDTD is not None:
        raise UnsafeDocument("the body has a DOCTYPE or no element", ResponseCode.NOT_ALLOWED)
    if body.count(b"xmlns") > _DECLARED_MAX and _crowded(root):
        raise UnsafeDocument(f"more than {_DECLARED_MAX} namespaces are declared around one element")
    return root


def validated(root: Any, *, lenient: bool = False, leniencies: list[Leniency] | None = None) -> Any:
    """The message element (oadrPoll, ...) under a root that the schema accepts, if need be after lenient repairs.

    Raises SchemaViolation. What was repaired is appended to `leniencies`.
    """
    repairs = repair_values(root) if lenient else []
    error = _shape_error(root)
    if error and lenient:
        root, shape_repairs = repair_shape(root)
        repairs += shape_repairs
        error = _shape_error(root)
    if error:
        raise complete(SchemaViolation(error), root)
    if leniencies is not None:
        leniencies.extend(repairs)
    return next(root.iterchildren(OADR + "oadrSignedObject"))[0]


def complete(error: Refusal, root: Any) -> Refusal:
    """The error with what its answer needs, as far as the tree has it: request_id, ven_id, message_name."""
    request = next(root.iter(PYLD + "requestID"), None)
    ven = next(root.iter(EI + "venID"), None)
    error.request_id = "" if request is None else request.text or ""
    error.ven_id = "" if ven is None else ven.text or ""
    for element in root.iter(OADR + "*"):
        name = etree.QName(element).localname
        if name not in ("oadrPayload", "oadrSignedObject"):
            error.message_name = name
            break
    return error


def _crowded(root: Any) -> bool:
    declared = 0
    for event, _ in etree.iterwalk(root, events=("start-ns", "end-ns")):
        declared += 1 if event == "start-ns" else -1
        if declared > _DECLARED_MAX:
            return True
    return False


def _shape_error(root: Any) -> str | None:
    if root.tag != OADR + "oadrPayload":
        return f"the root is {etree.QName(root).localname}, not oadrPayload"
    return schema_error(root)
