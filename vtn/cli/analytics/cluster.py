"""`dr-vtn cluster`: which homes make a virtual node, who should move, and whether moving is worth it."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtn.auth.permissions import Role
from vtn.cli.analytics import options as shared
from vtn.cli.options import Config, DataDir, Json, print_json, print_table
from vtn.context import Vtn

if TYPE_CHECKING:
    from forecasting.clustering.comparison import Way
    from forecasting.clustering.formation import Clustering
    from forecasting.clustering.moving import Move
    from vtn.analytics.runs import Review
    from vtn.analytics.subjects import Subjects

HomesMin = Annotated[int, typer.Option("--homes-min", min=1, help="Least size of a cluster that can be measured.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed and homes give the same clusters.")]
Anew = Annotated[bool, typer.Option("--anew", help="Form clusters anew instead of reviewing the last ones.")]
Compare = Annotated[bool, typer.Option("--compare", help="Test static, dynamic and learned re-clustering on history.")]
Segments = Annotated[bool, typer.Option("--segments", help="Show the load profile and segment of each home.")]
ReviewDays = Annotated[int, typer.Option("--review-days", min=1, help="Days between the reviews of a comparison.")]


def cluster(
    input_: shared.Input = None,
    homes_min: HomesMin = 20,
    seed: Seed = 1,
    anew: Anew = False,
    compare: Compare = False,
    review_days: ReviewDays = 14,
    segments: Segments = False,
    unit: shared.Unit = "kWh",
    kind: shared.Kind = "load",
    zone: shared.Zone = "UTC",
    naive_zone: shared.NaiveZone = None,
    stamped: shared.Stamped = "start",
    country: shared.Country = None,
    sites: shared.Sites = None,
    program: shared.Program = None,
    history_days: shared.HistoryDays = 250,
    weather: shared.WeatherSource = None,
    dask: shared.Scheduler = None,
    figure: shared.Figure = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Group homes of one feeder by what they are like, review who should move and why, and test what it brings.

    A study: it moves nobody. The groups that serve, and their reviews, are those of `dr-vtn nodes`.
    """
    request = shared.Request(
        input_=input_, unit=unit, kind=kind, zone=zone, naive_zone=naive_zone, stamped=stamped, country=country,
        sites=sites, program=program, history_days=history_days, weather=weather, scope="homes", config=config,
        data_dir=data_dir,
    )  # fmt: skip
    with shared.explained():
        from forecasting.clustering import segments as customers
        from forecasting.clustering.traits import homes
        from vtn.analytics import figures

        figures.check(figure)
        subject, merged = request.load()
        seen = homes(subject.loaded.panel, subject.calendar, subject.sites, subject.weather)
        earlier = _last(request, subject.program) if subject.program and not anew else None
        found, kept = _reviewed(subject, seen, earlier, homes_min, seed)
        if subject.program:
            _keep(request, kept)
        where = (dask or merged.analytics_scheduler, merged.analytics_workers)
        ways = _compared(subject, homes_min, review_days, seed, *where) if compare else []
        if figure is not None:
            figures.of_clusters(figure, found, seen, *_table(found))
        told = _shown(request, subject, customers.segments(seen)) if segments else []
    if as_json:
        print_json(_json(found, kept, ways, told))
    else:
        _tell(found, kept, ways, told)


def _shown(request: shared.Request, subject: Subjects, told: list[Any]) -> list[Any]:
    """Homes of a file are the operator's own; of the VTN's those whose consent lets the aggregator see them."""
    if not subject.program:
        return told

    async def consenting(vtn: Vtn) -> set[str]:
        return await vtn.consents.consenting([each.home for each in told], Role.AGGREGATOR)

    allowed = request.with_vtn(consenting)
    if withheld := sum(each.home not in allowed for each in told):
        typer.echo(f"{withheld} homes gave no consent that the aggregator sees theirs", err=True)
    return [each for each in told if each.home in allowed]


def _last(request: shared.Request, program: str) -> Review | None:
    from vtn.analytics.runs import Runs

    async def newest(vtn: Vtn) -> Review | None:
        found = await Runs(vtn.database).reviews(program, 1)
        return found[0] if found else None

    return request.with_vtn(newest)


def _keep(request: shared.Request, kept: Review) -> None:
    from vtn.analytics.runs import Runs

    async def keep(vtn: Vtn) -> None:
        await Runs(vtn.database).review(kept)

    request.with_vtn(keep)


def _tell(found: Clustering, kept: Review, ways: list[Way], told: list[Any]) -> None:
    apart = f", silhouette {_ratio(found.silhouette)}" if math.isfinite(found.silhouette) else ""
    print_table(f"{len(found.clusters)} cluster{'s' * (len(found.clusters) != 1)}{apart}", *_table(found))
    if kept.moves:
        moves = [(each.home, each.left, each.joined, each.reason) for each in kept.moves]
        print_table("Moves", ("home", "left", "joined", "reason"), moves)
    if ways:
        errors = [(way.name, f"{way.split_nrmse:.4f}", f"{way.node_nrmse:.4f}", len(way.moves)) for way in ways]
        print_table("On history", ("way", "split nRMSE", "virtual node nRMSE", "moves"), errors)
    if told:
        rows = [(each.home, each.segment, f"{each.mean_w:.0f}", each.peak_hour, each.why) for each in told]
        print_table("Customers", ("home", "segment", "mean W", "peak hour", "why"), rows)


def _reviewed(
    subject: Subjects, seen: Any, earlier: Review | None, homes_min: int, seed: int
) -> tuple[Clustering, Review]:
    """The first clustering, or a review of the last one."""
    from forecasting.clustering.formation import described, form
    from forecasting.clustering.moving import Hysteresis, Standing, review
    from vtn.analytics.runs import Moved, Review

    moves: list[Move] = []
    today = datetime.fromtimestamp(subject.now_ms / 1000, UTC).date()
    if earlier is None:
        found = form(seen, homes_min=homes_min, seed=seed)
        standing = Standing(found.assignment)
    else:
        before = Standing(earlier.assignment, earlier.leaning)
        standing, moves = review(before, seen, today, Hysteresis(homes_min=homes_min))
        found = described(seen, standing.assignment, homes_min)
    kept = Review(
        program=subject.program,
        reviewed_ms=subject.now_ms,
        assignment=dict(standing.assignment),
        leaning=dict(standing.leaning),
        moves=tuple(Moved(each.day.isoformat(), each.home, each.left, each.joined, each.reason) for each in moves),
        silhouette=found.silhouette if math.isfinite(found.silhouette) else None,
    )
    return found, kept


def _compared(
    subject: Subjects, homes_min: int, review_days: int, seed: int, scheduler: str | None, workers: int
) -> list[Way]:
    """Each way over the second half of the history, at most half a year of it."""
    from forecasting.clustering.comparison import WAYS
    from vtn.analytics.computing import computing

    panel = subject.loaded.panel
    last = subject.calendar.day_of(panel.end_ms)
    days = min((last - subject.calendar.day_of(panel.start_ms)).days // 2, 182)
    work = partial(_way, subject=subject, first=last - timedelta(days=days), last=last, homes_min=homes_min,
                   review_days=review_days, seed=seed)  # fmt: skip
    found = []
    with computing(scheduler, workers) as where, shared.progress("ways of clustering", len(WAYS)) as step:
        for way in where.map(work, WAYS):
            found.append(way)
            step(1)
    return found


def _way(name: str, *, subject: Subjects, first: date, last: date, homes_min: int, review_days: int, seed: int) -> Way:
    from forecasting.clustering.comparison import compare
    from forecasting.clustering.moving import Hysteresis

    return compare(
        subject.loaded.panel, subject.calendar, dict(subject.sites), first, last, review_days=review_days,
        settings=Hysteresis(homes_min=homes_min), weather=subject.weather, ways=[name], seed=seed,
    )[0]  # fmt: skip


def _table(found: Clustering) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    rows: list[tuple[object, ...]] = [
        (each.name, each.feeder, len(each.homes), _ratio(each.silhouette), f"{each.spread:.2f}", each.reason,
         "; ".join(each.flags))
        for each in found.clusters
    ]  # fmt: skip
    return ("cluster", "feeder", "homes", "silhouette", "spread", "reason", "flags"), rows


def _json(found: Clustering, kept: Review, ways: list[Way], told: list[Any]) -> dict[str, object]:
    return {
        "silhouette": kept.silhouette,
        "clusters": [
            {"name": each.name, "feeder": each.feeder, "programme": each.programme, "homes": each.homes,
             "silhouette": _number(each.silhouette), "spread": round(each.spread, 4), "reason": each.reason,
             "flags": each.flags}
            for each in found.clusters
        ],
        "moves": kept.moves,
        "comparison": [
            {"way": way.name, "split_nrmse": _number(way.split_nrmse), "node_nrmse": _number(way.node_nrmse),
             "moves": [{"day": m.day, "home": m.home, "left": m.left, "joined": m.joined, "reason": m.reason}
                       for m in way.moves]}
            for way in ways
        ],
        "segments": [
            {"home": each.home, "segment": each.segment, "mean_w": round(each.mean_w), "peak_hour": each.peak_hour,
             "why": each.why}
            for each in told
        ],
    }  # fmt: skip


def _ratio(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else ""


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
