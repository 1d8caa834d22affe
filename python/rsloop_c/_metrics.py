# SPDX-License-Identifier: Apache-2.0
"""Loop.serve_metrics() and RSLOOP_C_METRICS: where the endpoint listens.

What it answers, and everything after accept(), is C on the loop's runtime
thread (runtime/sight/), which needs neither Python nor the loop.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import warnings
import weakref
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import Self

VARIABLE = "RSLOOP_C_METRICS"
_Address: TypeAlias = str | tuple[str, int]
_BACKLOG = 64
_LOOPBACK = "127.0.0.1"

# The endpoint that the variable has asked for, while it is open.
_by_environment: weakref.ref[MetricsEndpoint] | None = None


def folder() -> str:
    """Where RSLOOP_C_METRICS=pid puts its sockets: only this user may enter."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return os.path.join(runtime, "rsloop_c")
    return f"/tmp/rsloop_c-{os.getuid()}"


def path_of(pid: int) -> str:
    """The socket of the process `pid`."""
    return os.path.join(folder(), f"{pid}.sock")


def address_from_environment() -> _Address | None:
    """What RSLOOP_C_METRICS says; None where it says nothing."""
    text = os.environ.get(VARIABLE, "")
    return parse_address(text) if text else None


def parse_address(text: str) -> _Address:
    """A unix socket's path, '@' for an abstract name, or a host and a port.

    Raises ValueError.
    """
    if text == "pid":
        return path_of(os.getpid())
    text = text.removeprefix("unix:").replace("%p", str(os.getpid()))
    if text[:1] in ("/", "@", "."):
        return text
    host, colon, port = text.rpartition(":")
    if host[:1] == "[" and host[-1:] == "]":
        host = host[1:-1]
    if not colon or not port.isdecimal() or int(port) > 0xFFFF:
        raise ValueError(
            f"an address must be HOST:PORT, /PATH, @NAME or 'pid', not {text!r}"
        )
    return host or _LOOPBACK, int(port)


class MetricsEndpoint:
    """An open endpoint. Ends with close(), or with its loop."""

    def __init__(self, loop: Any, sock: socket.socket, path: str | None) -> None:
        name: Any = sock.getsockname()
        self._number: int = loop._serve_metrics(sock.fileno())
        sock.detach()
        self._loop = weakref.ref(loop)
        self._path = path
        self._pid = os.getpid()
        self.address: _Address
        if isinstance(name, tuple):
            self.address = (name[0], name[1])
            host = f"[{name[0]}]" if ":" in name[0] else name[0]
            self.url = f"http://{host}:{name[1]}/metrics"
        else:
            self.address = os.fsdecode(name).replace("\0", "@", 1)
            self.url = f"unix:{self.address}"
        self._open = True

    def is_open(self) -> bool:
        """False after close(), and in a forked child."""
        return self._open and self._pid == os.getpid()

    def close(self) -> None:
        """Stop listening and end all connections. Idempotent.

        On the loop's thread, or while the loop does not run.
        """
        loop = self._loop()
        if not self._open:
            return
        if loop is not None:
            loop._stop_metrics(self._number)
        self._open = False
        if self._path is not None and self._pid == os.getpid():
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}{'' if self._open else ' closed'}>"


def _listen(address: _Address) -> tuple[socket.socket, str | None]:
    name: Any
    family: int
    if isinstance(address, tuple):
        found = socket.getaddrinfo(
            *address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, proto, _, name = found[0]
        path = None
    else:
        family, kind, proto = socket.AF_UNIX, socket.SOCK_STREAM, 0
        name = "\0" + address[1:] if address[:1] == "@" else address
        path = None if name[0] == "\0" else name
    sock = socket.socket(family, kind, proto)
    try:
        if path is not None:
            _remove_stale(path)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(name)
        if path is not None:
            os.chmod(path, 0o600)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock, path


def _remove_stale(path: str) -> None:
    """A socket that nobody listens on was left by a process that is gone."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError:
            return  # bind() will say what is the matter
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)


def _make_folder() -> None:
    """For RSLOOP_C_METRICS=pid. Raises OSError for a folder of others."""
    place = folder()
    os.makedirs(place, mode=0o700, exist_ok=True)
    found = os.lstat(place)
    if (
        not stat.S_ISDIR(found.st_mode)
        or found.st_uid != os.getuid()
        or found.st_mode & 0o077
    ):
        raise PermissionError(
            errno.EPERM, "must be a folder that only its owner may enter", place
        )


class MetricsMixin:
    """Loop's part."""

    _metrics: list[MetricsEndpoint]

    def serve_metrics(
        self, host: str = _LOOPBACK, port: int = 0, *, path: str | None = None
    ) -> MetricsEndpoint:
        """Answer GET /metrics there in OpenMetrics text, for all loops.

        Without port the system chooses one; the result's `address` and `url`
        say which. path is that of a unix socket instead, or '@' and an abstract
        name. Whoever may connect may read: there is no password.

        The loop's own thread is not needed: it answers while that is stuck.
        On the loop's thread, or while the loop does not run. Raises OSError.
        """
        if path is not None and not path:
            raise ValueError("path must not be empty")
        return self._serve_metrics_at((host, port) if path is None else path)

    def _serve_metrics_at(self, address: _Address) -> MetricsEndpoint:
        sock, path = _listen(address)
        with sock:
            try:
                endpoint = MetricsEndpoint(self, sock, path)
            except BaseException:
                if path is not None:
                    os.unlink(path)
                raise
        self._metrics = [*(one for one in self._metrics if one.is_open()), endpoint]
        return endpoint

    def _serve_metrics_by_environment(self, address: _Address | None) -> None:
        """One endpoint for a process, of the first loop that is open."""
        global _by_environment
        self._metrics = []
        serving = _by_environment() if _by_environment is not None else None
        if address is None or (serving is not None and serving.is_open()):
            return
        try:
            if address == path_of(os.getpid()):
                _make_folder()
            _by_environment = weakref.ref(self._serve_metrics_at(address))
        except OSError as exc:
            # A figure that is not told is no reason not to run.
            warnings.warn(f"{VARIABLE}: {address}: {exc}", RuntimeWarning, stacklevel=4)

    def _close_metrics(self) -> None:
        for endpoint in getattr(self, "_metrics", ()):
            endpoint.close()
        self._metrics = []
