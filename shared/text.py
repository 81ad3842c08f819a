"""Text for people: how every process logs, and foreign text made safe to show."""

import logging

from shared.errors import UsageError


def configure_logging(level: str) -> None:
    """Send this process's log to standard error from `level` on. Raises UsageError for an unknown one."""
    if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise UsageError(f"unknown log level {level!r}; the levels are DEBUG, INFO, WARNING, ERROR", field="log-level")
    level = level.upper()
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S", force=True
    )
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "asyncio", "websockets"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # It warns of every effect of a battle that it does not know.
    logging.getLogger("poke-env").setLevel(logging.ERROR)


def one_line(text: object, limit: int = 300) -> str:
    """Foreign text made safe for a log: no line breaks or control characters, at most `limit` characters."""
    plain = str(text)
    if plain.isprintable() and len(plain) <= limit:
        return plain
    shown = "".join(character if character.isprintable() else " " for character in plain[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
