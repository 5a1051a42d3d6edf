"""EiOpt: schedules with availability windows, for a VEN or for resources; dispatch reads them."""

from __future__ import annotations

from tests.conformance.v2 import wire

HOUR_MS = 3_600_000


def unavailable(vtn, device, from_ms, to_ms):
    return list(vtn.do(vtn.inside.opts.unavailable([device.ven_id], from_ms, to_ms)))


def test_windows_keep_a_ven_from_being_called_and_no_longer_once_they_are_cancelled(vtn, device):
    now_ms = vtn.clock.now_ms()
    windows = ((now_ms + HOUR_MS, "PT2H"), (now_ms + 24 * HOUR_MS, "PT30M"))
    answer = device.post("EiOpt", wire.create_opt(device.ven_id, "opt-1", "optOut", available=windows))
    assert (answer.name, answer.code) == ("oadrCreatedOpt", 200)
    assert unavailable(vtn, device, now_ms, now_ms + HOUR_MS) == []
    assert unavailable(vtn, device, now_ms + 2 * HOUR_MS, now_ms + 5 * HOUR_MS) == [device.ven_id]
    assert unavailable(vtn, device, now_ms + 24 * HOUR_MS, now_ms + 25 * HOUR_MS) == [device.ven_id]
    back = wire.create_opt(device.ven_id, "opt-2", "optIn", available=((now_ms + HOUR_MS, "PT2H"),), created_ms=now_ms)
    vtn.clock.advance(1000)
    assert device.post("EiOpt", back).code == 200
    assert unavailable(vtn, device, now_ms + 2 * HOUR_MS, now_ms + 5 * HOUR_MS) == []
    assert device.post("EiOpt", wire.cancel_opt(device.ven_id, "opt-1")).code == 200
    assert unavailable(vtn, device, now_ms, now_ms + 48 * HOUR_MS) == []


def test_an_opt_for_a_resource_is_kept_with_it(vtn, device):
    target = "<ei:resourceID>heater</ei:resourceID>"
    window = ((vtn.clock.now_ms(), "PT1H"),)
    assert (
        device.post("EiOpt", wire.create_opt(device.ven_id, "o", "optOut", available=window, target=target)).code == 200
    )
    [found] = vtn.do(vtn.inside.opts.list(device.ven_id))
    assert [(each.kind, each.value) for each in found.schedule.targets] == [("resource", "heater")]


def test_nobody_opts_for_another_ven(vtn, device):
    other = vtn.device()
    target = f"<ei:venID>{other.ven_id}</ei:venID>"
    answer = device.post("EiOpt", wire.create_opt(device.ven_id, "opt-1", "optOut", target=target))
    assert (answer.name, answer.code) == ("oadrCreatedOpt", 462)
    assert unavailable(vtn, other, 0, 2**52) == []


def test_the_same_opt_again_is_the_same_and_another_one_under_its_id_is_refused(vtn, device):
    body = wire.create_opt(device.ven_id, "opt-1", "optOut")
    assert [device.post("EiOpt", body).code for _ in range(2)] == [200, 200]
    assert device.post("EiOpt", wire.create_opt(device.ven_id, "opt-1", "optIn")).code == 454


def test_an_unknown_opt_cannot_be_cancelled(device):
    answer = device.post("EiOpt", wire.cancel_opt(device.ven_id, "opt-nobody-knows"))
    assert (answer.name, answer.code) == ("oadrCanceledOpt", 452)


def test_the_id_of_a_cancelled_opt_can_be_used_again(vtn, device):
    """Devices with one schedule have one id; answered with 200 and forgotten, it would not be heeded."""
    now_ms = vtn.clock.now_ms()
    for hour in (1, 1, 2):
        body = wire.create_opt(device.ven_id, "opt-1", "optOut", available=((now_ms + hour * HOUR_MS, "PT1H"),))
        assert device.post("EiOpt", body).code == 200
        from_ms = now_ms + hour * HOUR_MS
        assert unavailable(vtn, device, from_ms, from_ms + HOUR_MS) == [device.ven_id]
        assert device.post("EiOpt", wire.cancel_opt(device.ven_id, "opt-1")).code == 200
        assert unavailable(vtn, device, from_ms, from_ms + HOUR_MS) == []
