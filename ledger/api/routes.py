"""The table of routes, and how the replica's errors become problems."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from ledger.api import access, facts, state, tiles, transactions
from ledger.api.context import PLAIN, REPLICAS
from ledger.errors import Diverged, Erased, NotFinalYet, OrderingUnavailable, QueueFull, StoreUnavailable
from runtime.service import ProblemError

_TRANSACTION = "{transaction_id:[0-9a-f]{64}}"
_INDEX = "{index:[0-9]{1,15}}"
_KIND = "{kind:[a-z_]{1,32}}"


def add_routes(app: web.Application) -> None:
    """Adds the interface of the channels in `app[REPLICAS]`; every other channel is not found. Those that are neither
    the first nor in `app[PLAIN]` are restricted."""
    app[PLAIN] = set()
    app.middlewares.append(_explain)
    app.middlewares.append(access.guard)
    app.on_response_prepare.append(_tell_heights)
    app.on_response_prepare.append(tiles.publish)
    app.on_response_prepare.append(access.keep_private)
    prefix = "/v1/channels/{channel}"
    app.router.add_post(f"{prefix}/transactions", transactions.submit)
    app.router.add_get(f"{prefix}/transactions/{_TRANSACTION}", transactions.show)
    app.router.add_get(f"{prefix}/records/{_KIND}/{{key:.+}}", state.record)
    app.router.add_get(f"{prefix}/records/{_KIND}", state.records)
    app.router.add_get(f"{prefix}/facts", facts.facts)
    app.router.add_get(f"{prefix}/proofs/{_TRANSACTION}", state.proof)
    app.router.add_get(f"{prefix}/proofs/at/{_INDEX}", state.proof_at)
    app.router.add_get(f"{prefix}/proofs/records/{_KIND}/{{key:.+}}", state.record_proof)
    app.router.add_get(f"{prefix}/policy", state.policy)
    app.router.add_get(f"{prefix}/status", state.status)
    app.router.add_get(f"{prefix}/refusals", state.refusals)
    app.router.add_get(f"{prefix}/checkpoint", tiles.checkpoint)
    app.router.add_get(f"{prefix}/tile/{{path:.+}}", tiles.tile)


async def _tell_heights(request: web.Request, response: web.StreamResponse) -> None:
    """How far this replica is, so that a reader sees when it is stale."""
    replica = request.app[REPLICAS].get(request.match_info.get("channel", ""))
    if replica is not None and access.may_see(request):
        response.headers.setdefault("Ledger-Height", str(replica.height))
        response.headers.setdefault("Ledger-Final-Height", str(replica.final_height))


@web.middleware
async def _explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except QueueFull as error:
        raise ProblemError(
            "queue-full", "The queue is full", 429, str(error), retry_after=error.retry_after_s
        ) from error
    except OrderingUnavailable as error:
        raise ProblemError(
            "ordering-unavailable", "Nothing can be ordered now", 503, str(error), retry_after=error.retry_after_s
        ) from error
    except NotFinalYet as error:
        raise ProblemError(
            "not-final-yet", "No quorum has cosigned this yet", 409, str(error), retry_after=error.retry_after_s
        ) from error
    except Erased as error:
        raise ProblemError("erased", "The body was erased", 410, str(error)) from error
    except StoreUnavailable as error:
        detail = "The replica's database does not answer; what was acknowledged is safe. Try again."
        raise ProblemError("database-unavailable", "Nothing can be read now", 503, detail, retry_after=2) from error
    except Diverged as error:
        raise ProblemError("diverged", "This replica has stopped", 503, str(error), retry_after=30) from error
