"""A model at a version is played once its server says that it serves that version, and never before."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from services.arena.backends import Backend
from services.arena.backends.base import ServedModel
from shared.errors import NotServed, Unreachable
from shared.text import one_line

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often the server is asked."""
_SHOWN = 5


async def see_version(
    backend: Backend,
    wanted: str,
    patience_seconds: float,
    *,
    stopping: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> ServedModel | None:
    """The line of `wanted` in what the server lists; None where somebody wants to stop meanwhile.

    A server that has another version is waited for. Raises NotServed when that takes too long, and when the server does
    not say what it serves.
    """
    listed: tuple[ServedModel, ...] | None = None
    try:
        async with asyncio.timeout(patience_seconds):
            while not stopping():
                before, listed = listed, await backend.models()
                found = next((each for each in listed if each.id == wanted), None)
                if found is not None:
                    return found
                if before is None:
                    log.warning(
                        "%s does not serve %s yet, but %s. Waiting for %g s.",
                        backend.endpoint,
                        wanted,
                        _named(listed),
                        patience_seconds,
                    )
                await sleep(LOOK_SECONDS)
    except TimeoutError:
        instead = "does not answer" if listed is None else f"serves {_named(listed)}"
        raise NotServed(
            f"{backend.endpoint} does not serve {wanted}: after {patience_seconds:g} s it still {instead}"
        ) from None
    except Unreachable as error:
        raise NotServed(f"{wanted} cannot be seen at its server: {error.message}") from error
    return None


def _named(listed: tuple[ServedModel, ...]) -> str:
    names = [one_line(each.id, 100) for each in listed[:_SHOWN]]
    return ", ".join(names + ["…"] * (len(listed) > _SHOWN)) or "nothing"
