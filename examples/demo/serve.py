# SPDX-License-Identifier: Apache-2.0
"""Serve the demo under uvicorn on rsloop_c, until Ctrl-C.

    python serve.py [--host HOST] [--port PORT]

Without --port the variable PORT counts, then 8000, or any free port when that
one is taken. RSLOOP_C_BACKEND=auto|io_uring|epoll chooses the backend.
"""

import argparse
import errno
import os
import socket
import sys

import rsloop_c

try:
    import uvicorn
    from app import app
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}; the demo needs: pip install 'rsloop_c[demo]'")

DEFAULT_PORT = 8000


class Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if sockets and not self.should_exit:
            host, port = sockets[0].getsockname()[:2]
            if ":" in host:
                host = f"[{host}]"
            info = rsloop_c.runtime_info()
            print(f"rsloop_c demo: http://{host}:{port}/", flush=True)
            print(f"backend: {info['backend']} ({info['reason']})", flush=True)
            print("Ctrl-C stops it", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=os.environ.get("PORT"))
    options = parser.parse_args()
    try:
        listener = listen(options.host, options.port)
    except OSError as exc:
        where = f"{options.host} port {options.port or DEFAULT_PORT}"
        sys.exit(f"cannot listen on {where}: {exc.strerror}")
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3)
    with listener:
        try:
            rsloop_c.run(Server(config).serve(sockets=[listener]))
        except KeyboardInterrupt:
            # uvicorn has shut down by now and passes the signal on.
            print("stopped")
    return 0


def listen(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if port is not None:
        return socket.create_server((host, port), family=family, backlog=2048)
    try:
        return socket.create_server((host, DEFAULT_PORT), family=family, backlog=2048)
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE:
            raise
        return socket.create_server((host, 0), family=family, backlog=2048)


if __name__ == "__main__":
    sys.exit(main())
