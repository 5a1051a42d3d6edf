"""Rule 311: reportRequestID is 0 in an oadrRegisterReport."""

from __future__ import annotations


async def test_a_description_is_sent_under_0(judge, ven):
    [metadata] = judge.of("oadrRegisterReport")
    assert set(metadata.texts("./oadr:oadrReport/ei:reportRequestID")) == {"0"}
