"""What the face does with bytes before anybody is asked who sent them: the one error is one that can be answered."""

from __future__ import annotations

from typing import Any

from lxml import etree
from openleadr.messaging import XML_SCHEMA

from openadr.errors import MessageError, ResponseCode
from openadr.v2 import error_answer, render
from openadr.v2.document.safe import parse_safely
from openadr.v2.document.signature import is_signed, verify_tree
from openadr.v2.parsing import read

ACCEPTED = 200


def judged(body: bytes, *, lenient: bool, validate: bool) -> int:
    """200 for a message that was read, else the code of the answer. Anything but a MessageError passes through.

    `validate`: the answer has to be valid by the schema (AssertionError).
    """
    try:
        root: Any = parse_safely(body)
        if is_signed(root):
            root = verify_tree(root).root
        read(root, lenient=lenient)
    except MessageError as error:
        refused = error
    else:
        return ACCEPTED
    assert refused.code in set(ResponseCode)
    answer = render(error_answer(refused))
    if validate:
        assert XML_SCHEMA.validate(etree.fromstring(answer)), XML_SCHEMA.error_log
    return int(refused.code)
