"""What the day so far says of the next hours: errors of the day-ahead forecast go on for a while.

    correction(j) = a(j) * mean error of the last hour + b(j) * mean error of the last six hours,   j steps ahead

All errors are over their usual size (bands.Errors), so that those of a dark morning say something of noon. a and b of
each series come from the errors of the last 42 days, at all times of day together, by least squares held back towards
none. Bands of the corrected hours come from what was left of the same days' errors at this time of day.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forecasting.panels.panel import Floats
from forecasting.serving.bands import SLOT_POWER, TINY, Errors, order_statistics

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
    interval_s, slots = errors.interval_s, errors.values.shape[2]
    short, long = max(_SHORT_S // interval_s, 1), max(_LONG_S // interval_s, 2)
    past = np.nan_to_num(errors.scaled.reshape(len(values), -1))
    so_far = errors.size(np.arange(issue_slot - errors_today.shape[1], issue_slot) % slots)
    today = np.nan_to_num(errors_today / np.where(so_far > 0, so_far, 1))
    now = np.concatenate([past[:, -long:], today], axis=1)
    inputs_now = np.stack([now[:, -short:].mean(axis=1), now[:, -long:].mean(axis=1)], axis=1)
    inputs = np.stack([_trailing(past, short), _trailing(past, long)], axis=2)
    for column in range(min(values.shape[1], max(reach(interval_s) - skipped, 0))):
        ahead = skipped + column + 1
        size = errors.size(np.array([(issue_slot + ahead - 1) % slots]))[:, 0]
        weights = _weights(inputs[:, :-ahead], past[:, ahead:])
        values[:, column] += size * np.einsum("np,np->n", weights, inputs_now)
        if quantiles:
            left = past[:, ahead:] - np.einsum("ntp,np->nt", inputs[:, :-ahead], weights)
            ordered, counts = _at_this_time(left, issue_slot - 1, errors)
            for level, rows in quantiles.items():
                rows[:, column] = values[:, column] + size * order_statistics(ordered, counts, level)


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
    """What was left on each past day of the forecast issued at this time of day or up to an hour off, ascending; that
    of the times beside it drawn to the size it has at this one."""
    slots, near = errors.values.shape[2], max(3600 // errors.interval_s, 1)
    padded = np.pad(left, ((0, 0), (0, -left.shape[1] % slots)), constant_values=np.nan)
    by_slot = padded.reshape(len(left), -1, slots)[:, :, np.arange(origin_slot - near, origin_slot + near + 1) % slots]
    known = ~np.isnan(by_slot)
    size = np.where(known, np.abs(by_slot), 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    size = np.maximum(size, TINY * size.max(axis=1, keepdims=True) + TINY) ** SLOT_POWER
    chosen = (by_slot * (size[:, near, None, None] / size[:, None, :])).reshape(len(left), -1)
    chosen = np.sort(chosen, axis=1)
    return chosen, (~np.isnan(chosen)).sum(axis=1)
