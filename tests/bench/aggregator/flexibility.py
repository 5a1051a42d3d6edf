"""How near what homes are asked for comes to what they give, as they and their aggregator learn; and how well it is
known who will answer.

Homes that can give 60 to 140 % of what their devices are rated for, half of them all or nothing (a relay), half as much
as they are asked (a dimmer): twenty events each, measured with a noise. Four worlds: nobody learns, the home learns (it
corrects what it says), the aggregator learns (it corrects what it asks), both. Everything is asked that is said, no
margin is added, so that bias is nothing but error: |asked - given| / asked, mean over homes, in percent.

Noise: 10 % of the rating (a device with a meter of its own), 30 %, and that of a real home's baseline: an hour errs by
55 % (measurement.md, section 4), three hours that err alike by half by 45 % of the load, of which 30 % is rated.
"""

from __future__ import annotations

import random
from pathlib import Path
from statistics import mean
from typing import Any

from tests.vtn.flexibility.callers import simulated
from ven.devices.base import Description
from ven.flexibility.describing import Offer, Rated, said
from ven.flexibility.learning import Experience, learnt
from ven.flexibility.outcomes import Ended, Outcome
from vtn.flexibility.history import History, Trial

EVENTS = 20
HOMES = 120
RATED_WH = 3_000
DAY_MS = 86_400_000
NOISES = {"metered_device": 0.1, "moderate": 0.3, "real_baseline": 1.5}
FIGURE = Path("var/bench/flexibility.png")
_LOAD_PARTS = 1 / 0.3
_LEARNS = {
    "none": "nobody learns", "home": "the home learns", "vtn": "the aggregator learns", "both": "both learn",
}  # fmt: skip


def measured(data: Path | None, homes: int, quick: bool) -> dict[str, Any]:
    """The figures; `data` and `homes` are those of the forecasts and not used."""
    count = HOMES // 4 if quick else HOMES
    by_noise = {name: worlds(noise, count) for name, noise in NOISES.items()}
    figures: dict[str, Any] = {
        "flexibility_bias_percent_by_event": by_noise["metered_device"],
        "flexibility_bias_percent_by_event_moderate": by_noise["moderate"],
        "flexibility_bias_percent_by_event_real_baseline": by_noise["real_baseline"],
        "flexibility_brier": {
            "differ": simulated(differ=True, by_call=False)[1],
            "differ_by_call": simulated(differ=True, by_call=True)[1],
            "alike": simulated(differ=False, by_call=False)[1],
        },
    }
    figures["flexibility_bias_before_percent"] = by_noise["metered_device"]["both"][0]
    figures["flexibility_bias_after_percent"] = by_noise["metered_device"]["both"][-1]
    figures["flexibility_bias_percent_by_difference"] = {
        f"{round(100 * (able - 1)):+d}": by_difference(able) for able in (0.6, 0.8, 1.0, 1.2, 1.4)
    }
    for name, found in by_noise.items():
        figures[f"flexibility_bias_percent_{name}"] = {world: [each[0], each[-1]] for world, each in found.items()}
    draw(by_noise)
    return figures


def worlds(noise: float, homes: int = HOMES) -> dict[str, list[float]]:
    """Mean bias in percent by event, with and without learning on either side."""
    return {
        name: bias_by_event(noise, home_learns, vtn_learns, homes)
        for name, home_learns, vtn_learns in (
            ("none", False, False), ("home", True, False), ("vtn", False, True), ("both", True, True),
        )
    }  # fmt: skip


def bias_by_event(noise: float, home_learns: bool, vtn_learns: bool, homes: int = HOMES) -> list[float]:
    """Mean of |asked - given| / asked over homes, percent, for each event."""
    found: list[list[float]] = [[] for _ in range(EVENTS + 1)]
    for n in range(homes):
        able = 0.6 + 0.8 * n / (homes - 1)
        home = SimulatedHome(able, all_or_nothing=n % 2 == 0, noise=noise, seed=n)
        for event in range(EVENTS + 1):
            asked_wh, given_wh = home.lives_through(event, home_learns, vtn_learns)
            found[event].append(100 * abs(asked_wh - given_wh) / asked_wh)
    return [round(mean(each), 1) for each in found]


def by_difference(able: float, homes: int = 20) -> dict[str, list[float]]:
    """Signed bias in percent, of asked, before the first event and after the last, of all-or-nothing homes with meters
    of their own: above 0 they are asked for more than they can. Owners allow half more than the rating."""
    found = {}
    for name, learns in (("none", False), ("both", True)):
        pairs = [
            [home.lives_through(event, learns, learns) for event in range(EVENTS + 1)]
            for home in (SimulatedHome(able, all_or_nothing=True, noise=0.1, seed=seed) for seed in range(homes))
        ]
        found[name] = [
            round(mean(100 * (asked - given) / asked for asked, given in (each[n] for each in pairs)), 1)
            for n in (0, EVENTS)
        ]
    return found


class SimulatedHome:
    """A home rated for 1 kW over three hours that is able to give `able` of it; its owner allows 1.5 kW."""

    def __init__(self, able: float, *, all_or_nothing: bool, noise: float, seed: int) -> None:
        self._able, self._all, self._noise = able, all_or_nothing, noise
        self._rng = random.Random(seed)
        device = Description(kind="water_heater", power_w=RATED_WH // 3)
        self._rated = Rated(devices=(device,), most_w=RATED_WH // 2, flexible_percent=100, max_events_per_week=7)
        self._outcomes: list[Outcome] = []
        self._history = History()
        self.offer: Offer = said(self._rated, Experience())

    def lives_through(self, event: int, home_learns: bool, vtn_learns: bool) -> tuple[float, float]:
        """Asked for one event as the home says and the aggregator believes; (asked, given), Wh. What is measured of it
        is known to both afterwards."""
        if home_learns:
            offer = said(self._rated, learnt(self._outcomes), self.offer)
            if offer.corrected_percent != self.offer.corrected_percent:
                self._history.corrected("dev", event * DAY_MS)
            self.offer = offer
        said_wh = 3.0 * self.offer.devices[0].power_w
        asked_wh = said_wh * (min(1.0, self._history.learnt("dev").part) if vtn_learns else 1.0)
        given_wh = self._able * RATED_WH if self._all else min(asked_wh, self._able * RATED_WH)
        seen_wh = given_wh + self._rng.gauss(0, self._noise * RATED_WH)
        self._outcomes.append(
            Outcome(
                contract_id=f"sc2-{event}", start_ms=event * DAY_MS, end_ms=event * DAY_MS + 10_800_000,
                ended=Ended.DELIVERED, obligation_wh=round(asked_wh), asked_wh=round(asked_wh), claimed_wh=RATED_WH,
                delivered_wh=round(seen_wh), noise_wh=round(self._noise * RATED_WH), kind="water_heater",
            )
        )  # fmt: skip
        if vtn_learns:
            load_wh = RATED_WH * (_LOAD_PARTS if self._noise > 1 else self._noise / 0.4)
            trial = Trial(event * DAY_MS, round(asked_wh), round(seen_wh), round(load_wh))
            self._history.ended("dev", f"sc2-{event}", trial)
        return asked_wh, given_wh


def draw(by_noise: dict[str, dict[str, list[float]]], path: Path = FIGURE) -> None:
    """A picture, where the library for it is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(12, 4), layout="constrained")
    panels = figure.subplots(1, len(by_noise), sharey=True)
    for panel, (name, found) in zip(panels, by_noise.items(), strict=True):
        for world, biases in found.items():
            panel.plot(range(len(biases)), biases, label=_LEARNS[world])
        panel.set_title(f"{name.replace('_', ' ')}: noise {NOISES.get(name, 0):.0%} of the rating")
        panel.set_xlabel("events before")
    panels[0].set_ylabel("asked against given, mean error, %")
    panels[-1].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
