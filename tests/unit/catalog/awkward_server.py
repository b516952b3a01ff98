"""A local HTTP server that fails in the ways that real ones do, one answer after another."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

# Longer than any read timeout of the tests, short enough that no thread is left behind.
STALL_SECONDS = 1.0


@dataclass
class AwkwardServer:
    """`files` by path; `faults` are used up one for each request: None is a good answer.

    A fault is a status code, (status code, headers), "truncate", "stall", "ignore range", "wrong range" or "no length".
    `asked` lists the path and the Range header of each request.
    """

    files: dict[str, bytes]
    faults: list = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    etag: str = '"one"'
    url: str = ""


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[AwkwardServer]:
    """The server, for as long as the block lasts."""
    state = AwkwardServer(files)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            _answer(self, state)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def _answer(request: BaseHTTPRequestHandler, state: AwkwardServer) -> None:
    wanted = request.headers.get("Range")
    state.asked.append((request.path, wanted))
    fault = state.faults.pop(0) if state.faults else None
    if isinstance(fault, int):
        fault = fault, {}
    if isinstance(fault, tuple):
        _head(request, fault[0], {"Content-Length": "0", **fault[1]})
        return
    if request.path not in state.files:
        _head(request, 404, {"Content-Length": "0"})
        return
    content = state.files[request.path]
    start, status = 0, 200
    if wanted and fault != "ignore range" and request.headers.get("If-Range", state.etag) == state.etag:
        start, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
    headers = {"ETag": state.etag, "Content-Length": str(len(content) - start)}
    if start >= len(content) and status == 206:
        _head(request, 416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
        return
    if status == 206:
        begins = 0 if fault == "wrong range" else start
        headers["Content-Range"] = f"bytes {begins}-{len(content) - 1}/{len(content)}"
    if fault == "no length":
        del headers["Content-Length"]
    _head(request, status, headers)
    if fault in ("truncate", "stall"):
        request.wfile.write(content[start : start + (len(content) - start) // 2])
        request.wfile.flush()
        if fault == "stall":
            time.sleep(STALL_SECONDS)
    else:
        request.wfile.write(content[start:])


def _head(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
