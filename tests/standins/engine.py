"""An engine as a supervisor sees one: a program with TGI's or vLLM's arguments that listens, loads, answers, or fails.

    python tests/standins/engine.py text-generation-launcher --model-id smol@1 --hostname 127.0.0.1 --port 8080

How it behaves stands in `behaviour.json` among the published files: {"start": "ok"}, "die" or "hang".
"""

import argparse
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main() -> None:
    program, *arguments = sys.argv[1:]
    parser = argparse.ArgumentParser()
    parser.add_argument("--hostname", "--host", dest="host")
    parser.add_argument("--port", type=int)
    if Path(program).name == "vllm":
        parser.add_argument("serve")
        parser.add_argument("folder", type=Path)
        parser.add_argument("--served-model-name", dest="model")
    else:
        parser.add_argument("--model-id", dest="model")
    given, _ = parser.parse_known_args(arguments)
    folder = given.folder if "folder" in given else Path(given.model)
    start = json.loads((folder / "behaviour.json").read_text())["start"]
    if start == "die":
        sys.exit(3)
    if start == "hang":
        time.sleep(3600)
    serve(given.host, given.port, given.model)


def serve(host: str, port: int, model: str) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"data": [{"id": model}], "arguments": sys.argv[1:]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.path == "/slow":
                time.sleep(3600)
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    ThreadingHTTPServer((host, port), Answer).serve_forever()


if __name__ == "__main__":
    main()
