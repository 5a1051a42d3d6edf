"""Free ports of this machine, for what is started by a program instead of an operator."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
_FIRST: Final = 10_240
_LAST: Final = 65_535
_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on just now, all different.

    None is of the range from which the system takes the ports of outgoing connections: a server that is started again
    finds its port as it left it, and not held by somebody's connection.
    """
    low, high = _ephemeral()
    candidates = [*range(_FIRST, low), *range(high + 1, _LAST + 1)]
    random.shuffle(candidates)
    with ExitStack() as held:
        found: list[int] = []
        while len(found) < count:
            each = held.enter_context(socket.socket())
            with suppress(OSError):
                each.bind((LOOPBACK, candidates.pop() if candidates else 0))
                found.append(int(each.getsockname()[1]))
        return found


def _ephemeral() -> tuple[int, int]:
    """First and last port of outgoing connections; Linux's default where it is not told."""
    try:
        low, high = _EPHEMERAL.read_text(encoding="ascii").split()
        return max(int(low), _FIRST), int(high)
    except (OSError, ValueError):
        return 32_768, 60_999
