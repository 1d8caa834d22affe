# SPDX-License-Identifier: Apache-2.0
"""The event loop: C in front, CPython's own selector loop behind.

What runs per byte, per callback or per accepted connection is in _core.Loop.
What runs once a connection or less is inherited from asyncio, which reaches
the C side through the methods that it would call on itself (_add_reader,
_start_serving, _make_socket_transport, ...).
"""

from __future__ import annotations

import selectors
import signal
import threading
import weakref
from asyncio import base_events, events, format_helpers
from asyncio.unix_events import _UnixSelectorEventLoop

from . import _core
from ._datagram import DatagramMixin
from ._dns import ResolverMixin
from ._executor import ExecutorMixin
from ._flight import events_from_environment, of_callback
from ._fs_events import FileSystemMixin
from ._metrics import MetricsMixin, address_from_environment
from ._server import ServerMixin
from ._sock import SockMixin
from ._subprocess import SubprocessMixin
from ._tls_loop import TlsMixin
from ._transport_cold import TransportColdMixin
from ._watchdog import WatchdogMixin, bound_from_environment

# 3.14 (and late 3.13) say whether the repr may show arguments.
_FORMAT_TAKES_DEBUG = bool(
    getattr(format_helpers._format_callback_source, "__kwdefaults__", None)
)


class _WatchedFds:
    """Stands where BaseSelectorEventLoop keeps its selector; I/O is in C.

    asyncio's own transports look here for their repr: those of datagram sockets
    that are no plain ones.
    """

    def __init__(self, loop):
        self._loop = weakref.ref(loop)

    def get_key(self, fd):
        """What is watched of fd, as selectors.BaseSelector.get_key() says."""
        loop = self._loop()
        events = 0 if loop is None else loop._watched(fd)
        if not events:
            raise KeyError(f"{fd!r} is not registered")
        return selectors.SelectorKey(fd, fd, events, None)

    def close(self):
        pass


class Loop(
    _core.Loop,
    DatagramMixin,
    ResolverMixin,
    ExecutorMixin,
    FileSystemMixin,
    MetricsMixin,
    ServerMixin,
    SockMixin,
    SubprocessMixin,
    TlsMixin,
    TransportColdMixin,
    WatchdogMixin,
    _UnixSelectorEventLoop,
):
    """An asyncio event loop whose scheduling and stream I/O are native.

    backend is "io_uring", "epoll" or "auto"; None takes RSLOOP_C_BACKEND or
    "auto". Raises ValueError for another name and OSError when the system
    refuses what every loop needs (descriptors, memory).
    """

    def __init__(self, backend=None):
        self._pidfds = set()
        watchdog = bound_from_environment()
        metrics = address_from_environment()
        flight_events = events_from_environment()
        try:
            self._open_runtime(backend)
            super().__init__(selector=_WatchedFds(self))
        except BaseException:
            self._closed = True
            self._close_runtime()
            raise
        self.watchdog = watchdog
        self._serve_metrics_by_environment(metrics)
        self.flight_recorder = flight_events

    # --- Running -----------------------------------------------------------

    def _has_own_run_once(self):
        """Did a subclass or a test replace _run_once()?"""
        return (
            "_run_once" in self.__dict__
            or type(self)._run_once is not _core.Loop._run_once
        )

    def remove_signal_handler(self, sig):
        """Remove a handler for a signal; True if there was one."""
        removed = super().remove_signal_handler(sig)
        # asyncio gives up the wakeup fd with the last handler; a running loop
        # still needs it to hear of Ctrl-C.
        if removed and not self._signal_handlers and self.is_running():
            signal.set_wakeup_fd(self._csock.fileno(), warn_on_full_buffer=False)
        return removed

    def close(self):
        """Close the loop; idempotent. Raises RuntimeError while it runs."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        super().close()
        self.watchdog = None
        self._close_metrics()
        self._close_runtime()
        self._forget_children()
        self._close_fs_watches()

    # --- Reports of the C side ---------------------------------------------

    def _on_handle_error(self, handle, exc):
        """A callback raised: the report of asyncio.Handle._run()."""
        options = {"debug": self._debug} if _FORMAT_TAKES_DEBUG else {}
        source = format_helpers._format_callback_source(
            handle._callback, handle._args, **options
        )
        context = {
            "message": f"Exception in callback {source}",
            "exception": exc,
            "handle": handle,
            **of_callback(handle._callback, handle._args),
        }
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)

    def _on_slow_callback(self, what, duration):
        """Debug mode: `what` (a Handle or a transport) ran for duration s."""
        if duration < self.slow_callback_duration:
            return
        if isinstance(what, events.Handle):
            what = base_events._format_handle(what)
        elif what is None:
            what = "<closed transport>"
        # By this name, which CPython's own tests and others patch.
        base_events.logger.warning("Executing %s took %.3f seconds", what, duration)

    # --- Extension points of asyncio's loop --------------------------------

    def _stop_serving(self, sock):
        # asyncio lets any thread close a server. The kernel lets only the
        # loop's own cancel what an io_uring has armed.
        if self._thread_id in (None, threading.get_ident()):
            super()._stop_serving(sock)
        else:
            self.call_soon_threadsafe(super()._stop_serving, sock)

    def _ensure_fd_no_transport(self, fd):
        fileno = fd
        if not isinstance(fileno, int):
            try:
                fileno = int(fileno.fileno())
            except (AttributeError, TypeError, ValueError):
                raise ValueError(f"Invalid file object: {fd!r}") from None
        transport = self._transport_for_fd(fileno)
        if transport is not None and not transport.is_closing():
            raise RuntimeError(
                f"File descriptor {fd!r} is used by transport {transport!r}"
            )
        super()._ensure_fd_no_transport(fd)

    async def _sendfile_native(self, transp, file, offset, count):
        drained = transp._make_empty_waiter()  # refuses a second sendfile
        resume_reading = transp.is_reading()
        transp.pause_reading()
        sock = None
        try:
            await drained
            # The transport's fd belongs to the C side; readiness of a duplicate
            # can be watched beside it.
            sock = transp._sock.dup()
            return await self.sock_sendfile(sock, file, offset, count, fallback=False)
        finally:
            if sock is not None:
                self._remove_writer(sock.fileno())
                sock.close()
            transp._reset_empty_waiter()
            if resume_reading:
                transp.resume_reading()
