"""Model servers for tests: the chat routes of TGI, OpenAI and Mistral, well and ill behaved.

    model = StandIn(TGI, manners=[GARBAGE, CORRECT])
    async with model.server:
        ...  # ask it at model.server.url
    assert model.most_in_flight == 1

The first question is answered in the first manner, the second in the second, and so on; the last one stays.
`python -m tests.standins.models --service-ms 200 --at-once 32` is such a server as a process, for benchmarks.
"""

import argparse
import asyncio
import heapq
import json
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.arena.policies.probe import ODD
from tests.standins.http import Received, Reset, Send, Server


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it reached the server."""

    path: str
    headers: Mapping[str, str]
    body: Any
    permitted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Api:
    """A chat API: where it is asked, where it lists its models, how it is told what is permitted."""

    name: str
    chat: str
    listing: str
    permitted: Callable[[Any], tuple[str, ...]]
    wraps_in_json: bool


def _in_regex(body: Any) -> tuple[str, ...]:
    found = (body.get("response_format") or {}).get("value", "")
    alternation = re.fullmatch(r".*?\((.*)\)", found, re.DOTALL)
    return (
        tuple(re.sub(r"\\(.)", r"\1", each) for each in re.split(r"(?<!\\)\|", alternation[1])) if alternation else ()
    )


def _in_schema(body: Any) -> tuple[str, ...]:
    schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema", {})
    return tuple(schema.get("properties", {}).get("action", {}).get("enum", ()))


TGI = Api("tgi", "/v1/chat/completions", "/v1/models", _in_regex, wraps_in_json=False)
OPENAI = Api("openai", "/v1/chat/completions", "/v1/models", _in_schema, wraps_in_json=True)
MISTRAL = Api("mistral", "/v1/chat/completions", "/v1/models", _in_schema, wraps_in_json=True)
APIS = {api.name: api for api in (TGI, OPENAI, MISTRAL)}


@dataclass
class StandIn:
    """A model at a server of its own."""

    api: Api
    manners: "Sequence[Manner]" = ()
    service_seconds: float = 0.0
    at_once: int = 10_000
    """Questions that are worked on at once; more wait. A place is taken again at the very moment it is free, however
    late this process hears of it: its capacity is at_once / service_seconds exactly."""
    models: tuple[Mapping[str, Any], ...] = ({"id": "stand-in"},)
    keeps: bool = True
    """Whether the first question to a model is answered as it must be, whatever the manners."""
    asked: list[Asked] = field(default_factory=list)
    coming_back: "asyncio.Future[None] | None" = None
    in_flight: int = 0
    most_in_flight: int = 0
    answered: int = 0
    listed: int = 0
    """How often it was asked for its models."""
    abandoned: int = 0

    def __post_init__(self) -> None:
        self.server = Server(self.respond)
        self._free_at = [0.0] * self.at_once
        self._coming = iter(self.manners or [correct])
        self._now: Manner = correct

    async def respond(self, request: Received) -> Send:
        if request.path == self.api.listing:
            self.listed += 1
            return Send({"object": "list", "data": list(self.models)})
        if request.path != self.api.chat or request.method != "POST":
            return Send({"error": "no such route"}, status=404)
        body = request.json
        asked = Asked(request.path, request.headers, body, self.api.permitted(body))
        if asked.permitted == (ODD,) and self.keeps:
            # The question before the first battle, which no test counts.
            return self.says(self.wrapped(ODD))
        self.asked.append(asked)
        self._now = next(self._coming, self._now)
        manner = self._now
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.service_seconds:
                now = asyncio.get_running_loop().time()
                done_at = max(now, self._free_at[0]) + self.service_seconds
                heapq.heapreplace(self._free_at, done_at)
                await asyncio.sleep(done_at - now)
            answer = await manner(self, asked)
            self.answered += 1
            return answer
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        finally:
            self.in_flight -= 1

    def choice(self, asked: Asked) -> str:
        """A permitted answer: another one from question to question."""
        permitted = asked.permitted or ("move Tackle",)
        return permitted[len(self.asked) % len(permitted)]

    def says(self, text: str, finish: str = "stop", **message: Any) -> Send:
        """What the API sends when the model says `text`."""
        return Send(
            {
                "id": f"chat-{self.answered}",
                "object": "chat.completion",
                "created": 1_700_000_000,
                "model": "stand-in-1",
                "system_fingerprint": "stand-in",
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": finish,
                        "message": {"role": "assistant", "content": text, **message},
                    }
                ],
                "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107},
            }
        )

    def wrapped(self, answer: str) -> str:
        """An answer as a model gives it under this API's constraint."""
        return json.dumps({"action": answer}) if self.api.wraps_in_json else answer


Manner = Callable[[StandIn, Asked], Awaitable[Send]]


async def correct(model: StandIn, asked: Asked) -> Send:
    return model.says(model.wrapped(model.choice(asked)))


def together(questions: int) -> Manner:
    """The first answers are held back until that many questions are there at once: as if all began at one moment."""
    all_there = asyncio.Event()

    async def answer(model: StandIn, asked: Asked) -> Send:
        if model.in_flight >= questions:
            all_there.set()
        await all_there.wait()
        return await correct(model, asked)

    return answer


async def slow(model: StandIn, asked: Asked) -> Send:
    await asyncio.sleep(0.3)
    return await correct(model, asked)


async def garbage(model: StandIn, asked: Asked) -> Send:
    return model.says("�� <|im_start|> qwertz 🙃 ]]}")


async def prose(model: StandIn, asked: Asked) -> Send:
    return model.says(f"Sure! Here is my choice:\n{model.wrapped(model.choice(asked))}\nGood luck!")


async def illegal(model: StandIn, asked: Asked) -> Send:
    return model.says(model.wrapped("move Sketchiest Move Ever"))


async def truncated(model: StandIn, asked: Asked) -> Send:
    return model.says(model.wrapped(model.choice(asked))[:-3], finish="length")


async def empty(model: StandIn, asked: Asked) -> Send:
    return model.says("")


async def rate_limited(model: StandIn, asked: Asked) -> Send:
    return Send({"error": "too many requests"}, status=429, headers={"Retry-After": "1"})


async def failing(model: StandIn, asked: Asked) -> Send:
    return Send({"error": "CUDA error", "error_type": "generation"}, status=500)


async def unprocessable(model: StandIn, asked: Asked) -> Send:
    return Send({"error": "`inputs` must have less than 512 tokens", "error_type": "validation"}, status=422)


async def no_chat_at_all(model: StandIn, asked: Asked) -> Send:
    return Send(b"<html>It works!</html>", headers={"content-type": "text/html"})


async def reset(model: StandIn, asked: Asked) -> Send:
    raise Reset


async def silent(model: StandIn, asked: Asked) -> Send:
    await asyncio.Event().wait()
    raise AssertionError("never")


async def restarting(model: StandIn, asked: Asked) -> Send:
    """Goes down with every question it was asked, and is back half a second later."""

    async def come_back() -> None:
        await model.server.stop()
        await asyncio.sleep(0.5)
        await model.server.start()

    model.coming_back = asyncio.ensure_future(come_back())
    return await silent(model, asked)


async def main() -> None:
    """Serve until standard input ends, and tell the port first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--api", choices=APIS, default="tgi")
    parser.add_argument("--service-ms", type=float, default=200.0)
    parser.add_argument("--at-once", type=int, default=32)
    options = parser.parse_args()
    model = StandIn(APIS[options.api], service_seconds=options.service_ms / 1000, at_once=options.at_once)
    async with model.server:
        print(model.server.port, flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps({"answered": model.answered, "most_in_flight": model.most_in_flight}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
