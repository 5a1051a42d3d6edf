"""A recurrent network over all series of a panel (LSTM, Hochreiter and Schmidhuber 1997), if torch is installed.

    two weeks of days, each a vector of its slots over the series' mean ──▶ LSTM ──▶ the slots of the target day
                                                                                     as a departure from like days

It is here to be compared: its error is printed in the same table as the others', and it serves only if it wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from forecasting.errors import MissingLibrary
from forecasting.models.days import Days
from forecasting.models.features import like
from forecasting.panels.panel import Floats

_WINDOW_DAYS = 14
_EXAMPLES_MAX = 20_000


@dataclass(frozen=True)
class Recurrent:
    """`hidden` cells, `epochs` over the last `days_back` days, anew every four weeks. Raises MissingLibrary."""

    hidden: int = 64
    epochs: int = 30
    days_back: int = 150
    version: int = 1
    days_min: int = 42
    retrain_days: int = 28

    def __post_init__(self) -> None:
        library()

    @property
    def name(self) -> str:
        return f"lstm-{self.hidden}-{self.epochs}"

    def train(self, days: Days, until: int, lead: int) -> Any:
        """The network and the level of each series; None with less than a week of examples."""
        torch = library()
        first = max(_WINDOW_DAYS + lead, until - self.days_back)
        if until - first < 7:
            return None
        levels = _levels(days, lead)
        inputs, usual = _examples(days, levels, first, until, lead)
        target = ((days.cube[:, first:until] - usual) / levels[:, None, None]).reshape(-1, days.slots)
        inputs = inputs.reshape(-1, *inputs.shape[2:])
        chosen = np.flatnonzero(~np.isnan(target).any(axis=1))
        generator = np.random.default_rng(1)
        if len(chosen) > _EXAMPLES_MAX:
            chosen = np.sort(generator.choice(chosen, _EXAMPLES_MAX, replace=False))
        if not len(chosen):
            return None
        torch.manual_seed(1)
        network = _network(torch, inputs.shape[-1], self.hidden, days.slots)
        optimiser = torch.optim.Adam(network.parameters(), lr=2e-3, weight_decay=1e-4)
        given, wanted = torch.from_numpy(inputs[chosen]), torch.from_numpy(target[chosen])
        for _ in range(self.epochs):
            for batch in np.array_split(generator.permutation(len(chosen)), max(len(chosen) // 128, 1)):
                optimiser.zero_grad()
                loss = torch.nn.functional.smooth_l1_loss(network(given[batch]), wanted[batch])
                loss.backward()
                optimiser.step()
        return network.eval(), levels

    def profiles(self, days: Days, state: Any, first: int, end: int, lead: int) -> Floats:
        shape = (len(days.ids), end - first, days.slots)
        if state is None or first < _WINDOW_DAYS + lead:
            return np.full(shape, np.nan, dtype=np.float32)
        network, levels = state
        inputs, usual = _examples(days, levels, first, end, lead)
        torch = library()
        with torch.no_grad():
            departure = network(torch.from_numpy(inputs.reshape(-1, *inputs.shape[2:]))).numpy().reshape(shape)
        return np.asarray(usual + departure * levels[:, None, None], dtype=np.float32)


def library() -> Any:
    """The module torch. Raises MissingLibrary."""
    try:
        import torch
    except (ImportError, OSError) as error:
        raise MissingLibrary("the model lstm needs the extra lstm: pip install '.[lstm]'") from error
    return torch


def _network(torch: Any, width: int, hidden: int, slots: int) -> Any:
    class Network(torch.nn.Module):  # type: ignore[misc] # torch has no types when absent
        def __init__(self) -> None:
            super().__init__()
            self.cells = torch.nn.LSTM(width, hidden, batch_first=True)
            self.out = torch.nn.Linear(hidden, slots)

        def forward(self, given: Any) -> Any:
            return self.out(self.cells(given)[0][:, -1])

    return Network()


def _levels(days: Days, lead: int) -> Floats:
    """What each series is divided by."""
    usual = like(days, lead)[:, : max(days.known, 1)]
    return np.asarray(np.maximum(np.abs(usual).mean(axis=(1, 2)), 1e-3), dtype=np.float32)


def _examples(days: Days, levels: Floats, first: int, end: int, lead: int) -> tuple[Floats, Floats]:
    """(series, days, window, slots + 2) inputs, and the like-days forecast of each day."""
    usual = like(days, lead)
    past = np.where(np.isnan(days.cube), usual, days.cube)
    departures = ((past - usual) / levels[:, None, None]).astype(np.float32)
    windows = []
    for day in range(first, end):
        last = day - lead
        working = np.broadcast_to(days.working[None, last - _WINDOW_DAYS : last, None], (len(usual), _WINDOW_DAYS, 1))
        target = np.full_like(working, days.working[day])
        parts = [departures[:, last - _WINDOW_DAYS : last], working.astype(np.float32), target.astype(np.float32)]
        windows.append(np.concatenate(parts, axis=2))
    return np.stack(windows, axis=1), usual[:, first:end]
