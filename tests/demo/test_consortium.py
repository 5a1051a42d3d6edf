"""Fewer members only where etcd cannot be had, and then with the reason."""

from __future__ import annotations

import json
from pathlib import Path

from demo.consortium import AGGREGATOR, AUDITOR, SEATS, UTILITY, Consortium, etcd_missing


async def test_a_machine_without_etcd_is_told_why_and_how_to_get_one(tmp_path: Path):
    reason = await etcd_missing({"GRIDPACT_ETCD": str(tmp_path / "etcd")})
    assert reason is not None
    assert str(tmp_path / "etcd") in reason
    assert "apt install etcd-server" in reason


async def test_a_machine_with_etcd_has_no_reason_for_fewer_members():
    assert await etcd_missing({}) is None


def test_who_has_no_replica_of_its_own_uses_the_aggregators(tmp_path: Path):
    for members, labels in SEATS.items():
        consortium = Consortium(tmp_path / str(members), members, {}, tmp_path)
        pages = [
            {
                "label": label,
                "name": f"member.example/{label}",
                "api_url": f"http://{label}",
                "data_dir": ".",
                "log": ".",
            }
            for label in labels
        ]
        consortium.folder.mkdir()
        (consortium.folder / "cluster.json").write_text(json.dumps({"members": pages}))
        assert {consortium.seat(role).label for role in (UTILITY, AGGREGATOR, AUDITOR)} == set(labels)
