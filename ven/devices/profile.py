"""The profile of a simulated home: what it would use and produce if nobody controlled it.

One JSON file a home, six keys and no other:

    {"format": "gridpact-home-profile-1", "home_id": "H001", "start_ms": 1470639600000, "interval_s": 900,
     "load_wh": [503, 504, ...], "pv_wh": [0, 0, ...]}

`load_wh[i]` is the gross energy use and `pv_wh[i]` the production in the half-open interval that starts at
`start_ms + i * interval_s * 1000`; both whole Wh, neither negative. Inside an interval power is constant. `interval_s`
divides an hour, so that whole Wh give whole watts, and `start_ms` is a multiple of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from ven.devices.errors import OutsideProfile, ProfileError

FORMAT = "gridpact-home-profile-1"
KEYS = ("format", "home_id", "start_ms", "interval_s", "load_wh", "pv_wh")
FILE_BYTES_MAX = 64 * 1024 * 1024
WMS_PER_WH = 3_600_000  # watt-milliseconds in a watt-hour: keeps energy an integer at millisecond resolution


@dataclass(frozen=True)
class Profile:
    """Gross load and PV of one home on a gapless grid. Raises ProfileError when a value breaks the format's rules."""

    home_id: str
    start_ms: int
    interval_s: int
    load_wh: tuple[int, ...]
    pv_wh: tuple[int, ...]
    _net_before_wh: tuple[int, ...] = field(init=False, repr=False, compare=False)  # [i] = net energy before interval i

    def __post_init__(self) -> None:
        if not self.home_id:
            raise ProfileError("home_id is empty")
        if self.interval_s <= 0 or 3600 % self.interval_s:
            raise ProfileError(f"interval_s is {self.interval_s}; it must divide 3600")
        if self.start_ms % self.interval_ms:
            raise ProfileError(f"start_ms {self.start_ms} is not a multiple of the interval of {self.interval_s} s")
        if not self.load_wh:
            raise ProfileError("load_wh is empty")
        if len(self.load_wh) != len(self.pv_wh):
            raise ProfileError(f"load_wh has {len(self.load_wh)} values and pv_wh {len(self.pv_wh)}; they must agree")
        for name, values in (("load_wh", self.load_wh), ("pv_wh", self.pv_wh)):
            for position, value in enumerate(values):
                if value < 0:
                    raise ProfileError(f"{name}[{position}] is {value}; energy in a profile is never negative")
        net_wh = (load - pv for load, pv in zip(self.load_wh, self.pv_wh, strict=True))
        object.__setattr__(self, "_net_before_wh", tuple(accumulate(net_wh, initial=0)))

    @property
    def interval_ms(self) -> int:
        return self.interval_s * 1000

    @property
    def end_ms(self) -> int:
        """First instant the profile does not cover."""
        return self.start_ms + len(self.load_wh) * self.interval_ms

    def load_w(self, index: int) -> int:
        """Gross power in W during interval `index`."""
        return self.load_wh[index] * 3600 // self.interval_s

    def net_w(self, index: int) -> int:
        """Power at the meter in W during interval `index`: import > 0, export < 0."""
        return (self.load_wh[index] - self.pv_wh[index]) * 3600 // self.interval_s

    def index_at(self, at_ms: int) -> int:
        """Interval that holds the instant. Raises OutsideProfile."""
        if not self.start_ms <= at_ms < self.end_ms:
            raise OutsideProfile(f"{self.home_id}: {at_ms} is outside the profile [{self.start_ms}, {self.end_ms})")
        return (at_ms - self.start_ms) // self.interval_ms

    def net_register_wms(self, at_ms: int) -> int:
        """Net energy from the profile's start to the instant, in watt-milliseconds (3,600,000 = 1 Wh), exact.

        Raises OutsideProfile; the end of the profile itself is still a valid instant.
        """
        if at_ms == self.end_ms:
            return self._net_before_wh[-1] * WMS_PER_WH
        index = self.index_at(at_ms)
        into_ms = at_ms - self.start_ms - index * self.interval_ms
        return self._net_before_wh[index] * WMS_PER_WH + self.net_w(index) * into_ms


def read_profile(path: Path) -> Profile:
    """The profile in a file. Raises ProfileError naming the file and the first thing wrong; OSError if unreadable."""
    if path.stat().st_size > FILE_BYTES_MAX:
        raise ProfileError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
    try:
        return parse_profile(path.read_bytes())
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}") from error


def write_profile(path: Path, profile: Profile) -> None:
    """Writes the file `read_profile` reads; the same profile gives the same bytes."""
    path.write_bytes(render_profile(profile))


def render_profile(profile: Profile) -> bytes:
    values = (FORMAT, profile.home_id, profile.start_ms, profile.interval_s, profile.load_wh, profile.pv_wh)
    return json.dumps(dict(zip(KEYS, values, strict=True)), separators=(",", ":")).encode() + b"\n"


def parse_profile(text: bytes) -> Profile:
    """A profile from JSON text. Raises ProfileError: not JSON, a key missing, unknown or twice, a value off type."""
    try:
        document = json.loads(text, object_pairs_hook=_no_repeated_key)
    except (ValueError, RecursionError) as error:  # ValueError covers bad UTF-8 and bad JSON
        raise ProfileError(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ProfileError("the file must hold one JSON object")
    missing = [key for key in KEYS if key not in document]
    unknown = sorted(key for key in document if key not in KEYS)
    if missing or unknown:
        raise ProfileError(f"missing keys: {missing}; unknown keys: {unknown}")
    if document["format"] != FORMAT:
        raise ProfileError(f"format is {document['format']!r}; this program reads {FORMAT!r}")
    if not isinstance(document["home_id"], str):
        raise ProfileError("home_id must be text")
    return Profile(
        home_id=document["home_id"],
        start_ms=_whole(document["start_ms"], "start_ms"),
        interval_s=_whole(document["interval_s"], "interval_s"),
        load_wh=_whole_list(document["load_wh"], "load_wh"),
        pv_wh=_whole_list(document["pv_wh"], "pv_wh"),
    )


def _no_repeated_key(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ProfileError("a key occurs twice")
    return document


def _whole(value: object, name: str) -> int:
    if type(value) is not int:  # bool is an int to Python, and 900.0 a float to JSON: neither is accepted
        raise ProfileError(f"{name} must be a whole number, not {value!r}")
    return value


def _whole_list(value: object, name: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise ProfileError(f"{name} must be a list")
    return tuple(_whole(item, f"{name}[{position}]") for position, item in enumerate(value))
