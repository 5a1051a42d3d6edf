"""Integers that carry money and energy, and the only two ways of rounding them.

Energy is integer Wh. Money is integer minor units (cents). A price is minor units per MWh, so that a tariff of
0.1234 EUR/kWh is the integer 12,340. Rounding always goes toward the escrow: what is paid out is rounded down,
what is charged is rounded up.
"""

from typing import Annotated, Final

import msgspec

from contracts.core.codec import INTEGER_MAX

WH_PER_MWH: Final = 1_000_000
MS_PER_S: Final = 1_000
INTERVAL_S_MIN: Final = 60

Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,95}$")]
Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
SignatureHex = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}$")]
PublicKey = Annotated[str, msgspec.Meta(pattern=r"^(ed25519:[0-9a-f]{64}|p256:0[23][0-9a-f]{64})$")]
Text = Annotated[str, msgspec.Meta(max_length=200)]
# Names in signed notes: printable ASCII without space and plus. Verifier keys of 32 bytes: NAME+HEX+BASE64.
MemberName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][!-*,-~]{0,95}$")]
Origin = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][!-*,-~]{0,191}$")]
VerifierKey = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][!-*,-~]{0,191}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}$")]
NoteKey = Annotated[str, msgspec.Meta(pattern=r"^ed25519:[0-9a-f]{64}$")]
Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[!-~]{1,191}$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
TimeMs = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
IntervalS = Annotated[int, msgspec.Meta(ge=INTERVAL_S_MIN, le=86_400)]
# One meter in one interval: 100 MWh. 192 intervals of 100,000 devices, each baseline + adjustment - reading, then stay
# below 2^53, so that no reading a device can sign keeps its group from being settled.
Wh = Annotated[int, msgspec.Meta(ge=-100_000_000, le=100_000_000)]
WhUp = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)]
WhSum = Annotated[int, msgspec.Meta(ge=-INTEGER_MAX, le=INTEGER_MAX)]
WhSumUp = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
Minor = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000_000)]
MinorSum = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
Price = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=1_000)]


def earned_minor(energy_wh: int, price_minor_per_mwh: int) -> int:
    """Minor units paid for `energy_wh` >= 0, rounded down."""
    return energy_wh * price_minor_per_mwh // WH_PER_MWH


def charged_minor(energy_wh: int, price_minor_per_mwh: int) -> int:
    """Minor units charged for `energy_wh` >= 0, rounded up."""
    return -(-energy_wh * price_minor_per_mwh // WH_PER_MWH)


def percent_of(value: int, percent: int) -> int:
    """`percent` of `value`, rounded down (toward minus infinity)."""
    return value * percent // 100
