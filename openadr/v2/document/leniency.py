"""What real devices get wrong and what is still meant: each repair is named, so that the caller can log it.

Only for peers that are known to need it. Values are put right on every lenient read, because the schema lets some of
them through (`P` for no time at all); the shape of the document only after the schema has refused it.
"""

import re
from typing import Any

import msgspec
from lxml import etree

from openadr.v2.document.schema import EI, OADR, PYLD, XCAL, put_in_order

_DURATIONS = {
    XCAL + "duration",
    XCAL + "startafter",
    OADR + "oadrMinPeriod",
    OADR + "oadrMaxPeriod",
}
_TIMES = {XCAL + "date-time", EI + "createdDateTime", EI + "modificationDateTime", EI + "statusDateTime"}
_MISPLACED = {EI + "oadrReportPayload": OADR + "oadrReportPayload", OADR + "payloadFloat": EI + "payloadFloat"}
"""Elements that are written in the namespace of their neighbours."""
_WEEKS = re.compile(r"\+?P(\d{1,9})W", re.ASCII)
_OFFSET = re.compile(r"(\d\d:\d\d(?::\d\d(?:\.\d+)?)?)([+-]00:?00)", re.ASCII)
_NAIVE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d*)?", re.ASCII)


class Leniency(msgspec.Struct, frozen=True):
    """One repair: `kind` is a stable name to count by, `detail` says where."""

    kind: str
    detail: str


def repair_values(root: Any) -> list[Leniency]:
    """Put right, in place, durations and times that are written wrongly but mean one thing only."""
    found: list[Leniency] = []
    for element in root.iter():
        if not isinstance(element.tag, str) or not element.text:
            continue
        text = element.text.strip()
        if element.tag in _DURATIONS and len(element) == 0:
            _repair_duration(element, text, found)
        elif element.tag in _TIMES:
            _repair_time(element, text, found)
    return found


def repair_shape(root: Any) -> tuple[Any, list[Leniency]]:
    """Put right the shape of a document the schema refuses. Returns its (perhaps new) root and what was done."""
    found: list[Leniency] = []
    root = _wrap(root, found)
    for element in root.iter():
        version = element.attrib.pop("schemaVersion", None) if isinstance(element.tag, str) else None
        if version is not None:
            if EI + "schemaVersion" not in element.attrib:
                element.set(EI + "schemaVersion", version)
            found.append(Leniency("schema_version", f"{etree.QName(element).localname} has it without a namespace"))
    _repair_contents(root, found)
    found.extend(Leniency("element_order", f"children of {name}") for name in put_in_order(root))
    return root, found


def _repair_contents(root: Any, found: list[Leniency]) -> None:
    """What a VEN in Python leaves out, and says too much (pyoadr-ven 0.6)."""
    for element in list(root.iter(EI + "eiResponse")):
        if element.find(PYLD + "requestID") is None:
            etree.SubElement(element, PYLD + "requestID")
            found.append(Leniency("missing_request_id", "eiResponse has none"))
    for element in list(root.iter(OADR + "oadrReport")):
        name = element.findtext(EI + "reportName") or ""
        if element.find(EI + "reportRequestID") is None and name.startswith("METADATA_"):
            etree.SubElement(element, EI + "reportRequestID").text = "0"
            found.append(Leniency("missing_report_request_id", f"{name} read as 0 (rule 311)"))
    for element in list(root.iter(*_MISPLACED)):
        element.tag = _MISPLACED[element.tag]
        found.append(Leniency("element_namespace", etree.QName(element).localname))
    for element in list(root.iter(OADR + "PowerRealType")):
        element.getparent().remove(element)
        found.append(Leniency("unknown_unit", "PowerRealType is no unit: the description has none"))
    for element in list(root.iter(EI + "eventResponse")):
        if element.findtext(EI + "optType") == "none":
            answers = element.getparent()
            answers.remove(element)
            if len(answers) == 0:
                answers.getparent().remove(answers)
            found.append(Leniency("undecided_opt", "optType none is no answer yet"))


def _wrap(root: Any, found: list[Leniency]) -> Any:
    name = etree.QName(root).localname
    if root.tag == OADR + "oadrPayload":
        inner = [child for child in root if etree.QName(child).namespace == OADR[1:-1]]
        if len(inner) == 1 and inner[0].tag != OADR + "oadrSignedObject":
            signed = etree.SubElement(root, OADR + "oadrSignedObject")
            signed.append(inner[0])
            found.append(Leniency("missing_signed_object", f"around {etree.QName(inner[0]).localname}"))
        return root
    signed = root
    if root.tag != OADR + "oadrSignedObject":
        signed = etree.Element(OADR + "oadrSignedObject")
        signed.append(root)
        found.append(Leniency("missing_signed_object", f"around {name}"))
    payload = etree.Element(OADR + "oadrPayload")
    payload.append(signed)
    found.append(Leniency("missing_payload", f"around {name}"))
    return payload


def _repair_duration(element: Any, text: str, found: list[Leniency]) -> None:
    weeks = _WEEKS.fullmatch(text)
    if text in ("P", "PT"):
        element.text = "PT0S"
        found.append(Leniency("empty_duration", f"{text} read as PT0S"))
    elif weeks:
        # ISO 8601, but the schema's pattern lost it.
        element.text = f"P{int(weeks[1]) * 7}D"
        found.append(Leniency("week_duration", f"{text} read as {element.text}"))


def _repair_time(element: Any, text: str, found: list[Leniency]) -> None:
    if _OFFSET.search(text):
        element.text = _OFFSET.sub(r"\1Z", text)
        found.append(Leniency("utc_offset", f"{text} read as {element.text}"))
    elif _NAIVE.fullmatch(text):
        element.text = text + "Z"
        found.append(Leniency("naive_time", f"{text} read as UTC"))
