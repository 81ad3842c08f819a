"""A worker that only asks: `python -m tests.jobs.askers REDIS SERVER LIMIT QUESTIONS`, forty at once."""

import asyncio
import sys

from services.arena.backends import Question
from services.arena.backends.chat import make_backend
from shared.jobs.limits import shared_limiter
from shared.policies import parse_policy
from shared.settings import Settings


async def main(redis_url: str, server: str, limit: int, questions: int) -> None:
    """Ask, and print how many were answered."""
    limiter = shared_limiter(redis_url)
    backend = make_backend(parse_policy(f"tgi:{server}"), Settings(max_in_flight=limit), limiter)
    crowd = asyncio.Semaphore(40)

    async def ask() -> bool:
        async with crowd:
            reply = await backend.ask(Question((("user", "?"),), ("pass", "move Surf"), "(pass|move Surf)"))
            return reply.problem is None

    answered = await asyncio.gather(*(ask() for _ in range(questions)))
    await backend.aclose()
    await limiter.aclose()
    print(f"{sum(answered)} answered")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
