"""What regressions know of a day before it begins: levels of like and recent days, yesterday, last week, the weather.

Every feature is an array (series, days, slots); a gap is filled from like days, then from the slot's mean, for features
alone: what a model is fitted to is never filled.
"""

from __future__ import annotations

import numpy as np

from forecasting.models.days import Days
from forecasting.models.weighted import RecentDays, SimilarDays
from forecasting.panels.panel import Floats

HEATING_BELOW_C = 16.0
COOLING_ABOVE_C = 20.0
OTHER_DAY = "other_day"


def features(days: Days, lead: int) -> tuple[tuple[str, ...], Floats]:
    """Names, and values (series, days, slots, features), of every day of the cube, for forecasts of a lead."""
    key = ("features", lead)
    if key not in days.derived:
        named = {**_of_load(days, lead), **_of_weather(days, lead)}
        values = np.empty((*days.cube.shape, len(named)), dtype=days.cube.dtype)
        for position, each in enumerate(named.values()):
            values[..., position] = each
        days.derived[key] = (tuple(named), values)
    found: tuple[tuple[str, ...], Floats] = days.derived[key]
    return found


def of_weather(name: str) -> bool:
    """Whether a feature is in degrees."""
    return name.startswith(("cooling", "heating"))


def stillness(names: tuple[str, ...], days: Days, lead: int) -> Floats:
    """Spread (series, features) below which a feature says nothing: half a degree, 2 % of what the series uses."""
    level = np.abs(like(days, lead)[:, : max(days.known, 1)]).mean(axis=(1, 2))
    own = np.array([not of_weather(name) and name != OTHER_DAY for name in names])
    floor = np.array([0.5 if of_weather(name) else 0.05 for name in names], dtype=level.dtype)
    return np.where(own, np.maximum(0.02 * level, 1e-6)[:, None], floor)


def like(days: Days, lead: int) -> Floats:
    """The similar-days forecast of every day, filled where there was no like day."""
    key = ("like", lead)
    if key not in days.derived:
        found = SimilarDays().profiles(days, None, 0, days.count, lead)
        days.derived[key] = _filled(found, _slot_means(days))
    result: Floats = days.derived[key]
    return result


def _of_load(days: Days, lead: int) -> dict[str, Floats]:
    expected = like(days, lead)
    # a gap of yesterday is filled with what was expected of it with the same lead
    past = days.cube if days.complete else np.where(np.isnan(days.cube), expected, days.cube)
    recent = _filled(RecentDays().profiles(days, None, 0, days.count, lead), expected)
    yesterday, last_week = _shifted(past, 1 + lead), _shifted(past, 7 * (1 + lead // 7))
    evening = yesterday[:, :, -max(days.slots // 6, 1) :]
    other_day = np.broadcast_to(~days.working[None, :, None], expected.shape)
    return {
        "like": expected,
        "like_smooth": _smoothed(expected),
        "yesterday": yesterday,
        "yesterday_smooth": _smoothed(yesterday),
        "last_week_smooth": _smoothed(last_week),
        "recent_smooth": _smoothed(recent),
        "yesterday_mean": _daily(yesterday),
        "like_mean": _daily(expected),
        "evening_mean": np.broadcast_to(evening.mean(axis=2, keepdims=True), expected.shape),
        OTHER_DAY: other_day.astype(expected.dtype),
    }


def _of_weather(days: Days, lead: int) -> dict[str, Floats]:
    """Degrees to heat or cool, at the hour and over the day, beside what like days had: the load follows the change."""
    temperature = days.temperature()
    if temperature is None or np.isnan(temperature).all():
        return {}
    mean_by_slot = np.nanmean(temperature, axis=0)
    filled = np.where(np.isnan(temperature), mean_by_slot, temperature).astype(np.float32)
    found = {}
    for name, degrees in (
        ("cooling", np.maximum(filled - COOLING_ABOVE_C, 0)),
        ("heating", np.maximum(HEATING_BELOW_C - filled, 0)),
    ):
        usual = _like_weather(days, degrees, lead)
        daily = np.broadcast_to(degrees.mean(axis=1, keepdims=True), degrees.shape)
        usual_daily = np.broadcast_to(usual.mean(axis=1, keepdims=True), degrees.shape)
        for suffix, values in (
            ("", degrees),
            ("_change", degrees - usual),
            ("_day", daily),
            ("_day_change", daily - usual_daily),
        ):
            found[name + suffix] = np.broadcast_to(values.astype(np.float32)[None], days.cube.shape)
    return found


def _like_weather(days: Days, degrees: Floats, lead: int) -> Floats:
    """The same weighted mean of like days that the load feature is, of the weather."""
    alone = Days(("weather",), days.grid, degrees[None].astype(np.float32), days.working, days.known)
    found = SimilarDays().profiles(alone, None, 0, days.count, lead)[0]
    return np.where(np.isnan(found), degrees, found)


def _slot_means(days: Days) -> Floats:
    known = days.cube[:, : days.known]
    there = ~np.isnan(known)
    sums, counts = np.where(there, known, 0).sum(axis=1), there.sum(axis=1)
    overall = sums.sum(axis=1, keepdims=True) / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), overall)[:, None, :], dtype=known.dtype)


def _filled(values: Floats, by: Floats) -> Floats:
    gaps = np.isnan(values)
    return np.where(gaps, by, values) if gaps.any() else values


def _shifted(values: Floats, days: int) -> Floats:
    """The value `days` before; the first days repeat the first one."""
    return np.concatenate([np.repeat(values[:, :1], min(days, values.shape[1]), axis=1), values[:, :-days]], axis=1)


def _smoothed(values: Floats) -> Floats:
    """Mean with the slots within half an hour to an hour on either side: a home's clock is not the meter's."""
    reach = max(round(values.shape[2] / 24), 1)
    padded = np.concatenate([values[:, :, -reach:], values, values[:, :, :reach]], axis=2)
    slots = values.shape[2]
    total = padded[:, :, :slots].copy()
    for step in range(1, 2 * reach + 1):
        total += padded[:, :, step : step + slots]
    total /= 2 * reach + 1
    return total


def _daily(values: Floats) -> Floats:
    return np.broadcast_to(values.mean(axis=2, keepdims=True), values.shape)
