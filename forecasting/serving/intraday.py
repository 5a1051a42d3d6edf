"""What the day so far says of the next hours: errors of the day-ahead forecast go on for a while.

    correction(j) = a(j) * mean error of the last hour + b(j) * mean error of the last six hours,   j steps ahead

a and b of each series come from the errors of the last 42 days, at all times of day together, by least squares held
back towards none. Bands of the corrected hours come from what was left of the same days' errors at this time of day.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forecasting.panels.panel import Floats
from forecasting.serving.bands import Errors, order_statistics

_REACH_S = 12 * 3600
_SHORT_S, _LONG_S = 3600, 6 * 3600
_HELD_BACK = 0.05


def reach(interval_s: int) -> int:
    """Steps ahead that are corrected."""
    return _REACH_S // interval_s


def carry(
    values: Floats,
    quantiles: dict[float, Floats],
    skipped: int,
    errors: Errors,
    errors_today: Floats,
    issue_slot: int,
) -> None:
    """Corrects values and quantiles (series, intervals) in place.

    skipped: intervals between the last reading and the first value. errors_today (series, intervals so far).
    issue_slot: slot of the first interval without a reading.
    """
    interval_s = errors.interval_s
    short, long = max(_SHORT_S // interval_s, 1), max(_LONG_S // interval_s, 2)
    past = np.nan_to_num(errors.values.reshape(len(values), -1))
    now = np.concatenate([past[:, -long:], np.nan_to_num(errors_today)], axis=1)
    inputs_now = np.stack([now[:, -short:].mean(axis=1), now[:, -long:].mean(axis=1)], axis=1)
    inputs = np.stack([_trailing(past, short), _trailing(past, long)], axis=2)
    for column in range(min(values.shape[1], max(reach(interval_s) - skipped, 0))):
        ahead = skipped + column + 1
        weights = _weights(inputs[:, :-ahead], past[:, ahead:])
        values[:, column] += np.einsum("np,np->n", weights, inputs_now)
        if quantiles:
            left = past[:, ahead:] - np.einsum("ntp,np->nt", inputs[:, :-ahead], weights)
            ordered, counts = _at_this_time(left, issue_slot - 1, errors)
            for level, rows in quantiles.items():
                rows[:, column] = values[:, column] + order_statistics(ordered, counts, level)


def _trailing(values: Floats, length: int) -> Floats:
    """Mean of the last `length` values up to each; fewer at the beginning."""
    summed = np.cumsum(values, axis=1, dtype=np.float64)
    before = np.concatenate([np.zeros((len(values), length)), summed[:, :-length]], axis=1)
    counts = np.minimum(np.arange(1, values.shape[1] + 1), length)
    return np.asarray((summed - before) / counts, dtype=values.dtype)


def _weights(inputs: Floats, target: Floats) -> Floats:
    gram = np.einsum("ntp,ntq->npq", inputs, inputs, optimize=True).astype(np.float64)
    moment = np.einsum("ntp,nt->np", inputs, target, optimize=True).astype(np.float64)
    size = np.trace(gram, axis1=1, axis2=2)[:, None, None]
    held = gram + (_HELD_BACK * size + 1e-9) * np.eye(gram.shape[-1])
    return np.linalg.solve(held, moment[..., None])[..., 0].astype(inputs.dtype)


def _at_this_time(left: Floats, origin_slot: int, errors: Errors) -> tuple[Floats, NDArray[np.int64]]:
    """What was left on each past day of the forecast issued at this time of day or up to an hour off, ascending."""
    slots, near = errors.values.shape[2], max(3600 // errors.interval_s, 1)
    origins = np.arange(left.shape[1])
    distance = np.abs((origins - origin_slot + slots // 2) % slots - slots // 2)
    chosen = np.sort(left[:, distance <= near], axis=1)
    return chosen, np.full(len(left), chosen.shape[1], dtype=np.int64)
