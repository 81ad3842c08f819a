"""The official Showdown server as a service of its own, to watch battles live: `python -m deploy.showdown PORT`.

For a container: it listens on every address there, and believes whoever connects. Publish its port on loopback only.
"""

import asyncio
import signal
import sys

from shared.errors import AlphaStralError, UsageError
from shared.settings import Settings
from shared.simulator.showdown_server import ShowdownServer
from shared.text import configure_logging


async def serve(port: int, settings: Settings) -> None:
    """Serve until told to stop. Raises SimulatorError when the server ends by itself."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with ShowdownServer(port, settings.node, address="0.0.0.0") as server:
        stopping, ending = asyncio.create_task(told.wait()), asyncio.create_task(server.ended())
        await asyncio.wait((stopping, ending), return_when=asyncio.FIRST_COMPLETED)
        if not told.is_set():
            raise await ending
        ending.cancel()
        stopping.cancel()


def main() -> None:
    """Run the command and exit."""
    try:
        settings = Settings()
        configure_logging(settings.log_level)
        if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
            raise UsageError("give the port, and nothing else")
        asyncio.run(serve(int(sys.argv[1]), settings))
    except AlphaStralError as error:
        sys.exit(f"error: {error.message}")


if __name__ == "__main__":
    main()
