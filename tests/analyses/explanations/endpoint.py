"""A chat endpoint on the loopback whose replies a test decides."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any], int], "Said"]


@dataclass(frozen=True)
class Said:
    """What goes out: a status, a body, headers; `seconds` to wait first."""

    body: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Endpoint:
    """A running endpoint: its base URL, and the requests it got so far."""

    base_url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


def completion(text: str) -> Said:
    """A chat completion that says this."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    return Said(json.dumps({"choices": [{"index": 0, "message": message}], "usage": usage}))


@contextmanager
def serve(answer: Answer) -> Iterator[Endpoint]:
    """Serve on a free port; `answer(request, number)` says what goes out."""
    lock, released = threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                endpoint.requests.append(request)
                endpoint.headers.append(dict(self.headers))
                endpoint.paths.append(self.path)
                number = len(endpoint.requests)
            said = answer(request, number)
            released.wait(said.seconds)
            body = said.body.encode()
            self.send_response(said.status)
            for name, value in {**said.headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            # Who asked may not have waited.
            with suppress(BrokenPipeError, ConnectionResetError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join()
