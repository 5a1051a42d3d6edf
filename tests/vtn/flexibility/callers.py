"""Homes that answer, or do not."""

from __future__ import annotations

import math
import random

from vtn.flexibility.answering import Answering, Call, brier


def simulated(differ: bool, by_call: bool, seed: int = 1) -> tuple[Answering, dict[str, float]]:
    """60 homes, 40 events of which each is asked for half; Brier scores of the later half: of the constant that is
    best for all, of what was estimated before each call, and of the truth."""
    rng, answering = random.Random(seed), Answering()
    wills = {f"home-{n}": rng.betavariate(6, 2) if differ else 0.75 for n in range(60)}
    days: dict[str, list[int]] = {home: [] for home in wills}
    said, truth, happened = [], [], []
    for event in range(40):
        hour, weekend, notice_s = rng.choice([7, 12, 18, 20]), rng.random() < 0.3, rng.choice([1_200, 7_200, 30_000])
        for home, will in wills.items():
            if rng.random() < 0.5:
                continue
            lately = sum(event - day < 7 for day in days[home])
            call = Call(hour=hour, weekend=weekend, notice_s=notice_s, lately=lately)
            moved = -1.0 * (hour >= 18) - 0.8 * (notice_s < 3_600) - 0.25 * lately if by_call else 0.0
            real = 1 / (1 + math.exp(-math.log(will / (1 - will)) - moved))
            answered = rng.random() < real
            said.append(answering.probability(home, call))
            truth.append(real)
            happened.append(answered)
            answering.observe(home, answered, call)
            days[home].append(event)
    half = len(happened) // 2
    constant = sum(happened[:half]) / half
    late = happened[half:]
    scores = {"constant": brier([constant] * len(late), late), "estimate": brier(said[half:], late)}
    return answering, scores | {"truth": brier(truth[half:], late)}
