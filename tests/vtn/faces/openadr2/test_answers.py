"""The answer to an empty poll is put together from parts: it has to be what rendering and signing would make."""

from __future__ import annotations

import pytest

from openadr import v2
from openadr.v2.document.signature import signable
from vtn.faces.openadr2.answers import EmptyAnswers


@pytest.mark.parametrize("ven_id", ["00123", "<&>\"'", "Überlandwerk", "a]]>b"])
def test_what_is_put_together_is_what_is_rendered_and_signed(ven_id):
    ready = EmptyAnswers().to(ven_id)
    assert v2.parse(ready.body) == v2.OadrResponse(v2.EiResponse(request_id=""), ven_id)
    assert ready.signable == signable(ready.body)
