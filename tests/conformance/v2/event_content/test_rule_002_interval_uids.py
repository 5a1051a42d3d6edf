"""Rule 2: the uids of a signal's intervals count from 0 by 1."""

from __future__ import annotations

from tests.conformance.v2.running import EUR, a_signal


def test_interval_uids_count_from_0_by_1_in_every_signal(vtn, device):
    simple = a_signal(("1", 1200), ("2", 1200), ("0", 1200))
    price = a_signal(
        ("0.3", 1800), ("0.5", 1800), name="ELECTRICITY_PRICE", type="price", signal_id="signal-1", unit=EUR
    )
    event_id = vtn.event(device, signals=(simple, price))
    answer = device.events()
    signals = answer.event(event_id).findall(".//{*}eiEventSignal")
    assert [answer.texts(".//ei:interval/xcal:uid/xcal:text", signal) for signal in signals] == [
        ["0", "1", "2"],
        ["0", "1"],
    ]
