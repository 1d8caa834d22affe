# SPDX-License-Identifier: Apache-2.0
"""TLS connections of a loop: from asyncio's extension points to an engine.

A native engine makes the connection's transport a TLS one; where none can honour
the context, asyncio's sslproto serves it over a plain transport of ours.
"""

from __future__ import annotations

import inspect
from asyncio import base_events, constants, sslproto
from asyncio.streams import StreamReaderProtocol

from . import _core

try:
    import ssl

    from . import _tls
except ImportError:  # a Python without OpenSSL; asyncio works there too
    ssl = None

# 3.11 has it.
_SHUTDOWN_TIMEOUT = getattr(constants, "SSL_SHUTDOWN_TIMEOUT", 30.0)
_HAS_SHUTDOWN_TIMEOUT = (
    "ssl_shutdown_timeout"
    in inspect.signature(sslproto.SSLProtocol.__init__).parameters
)


# As stream_tls_timer.c has it: how often a silent peer is looked at that nobody
# has had to make room for.
_LOOK_SECONDS = 0.25


class _SSLProtocol(sslproto.SSLProtocol):
    """asyncio's, whose handshakes Loop.stats() counts and Loop.limits may end."""

    _shakes = False
    _accepted = False
    _silence = None  # the timer of _heed_silence()

    def _start_handshake(self):
        self._shakes = True
        self._loop._count_python_tls("started")
        super()._start_handshake()
        if self._accepted:
            self._heed_silence(None)

    def _heed_silence(self, heard):
        """Give way to others if the peer has said nothing since `heard`."""
        seconds = self._loop.limits.tls_silence_timeout
        if not self._shakes or seconds is None:
            return
        read = self._transport.get_extra_info("bytes_read")
        if read == heard:
            if self._loop._handshakes_crowd():
                self._fatal_error(
                    ConnectionAbortedError(
                        "SSL handshake has been silent while others wait for "
                        "theirs: aborting the connection"
                    )
                )
                return
            seconds = min(seconds, _LOOK_SECONDS)
        self._silence = self._loop.call_later(seconds, self._heed_silence, read)

    def _on_handshake_complete(self, handshake_exc):
        self._count_end(handshake_exc is None)
        try:
            super()._on_handshake_complete(handshake_exc)
        finally:
            # Its traceback has this frame: no cycles (gh-159049).
            del handshake_exc

    def connection_lost(self, exc):
        self._count_end(False)
        super().connection_lost(exc)

    def _count_end(self, finished):
        if not self._shakes:
            return
        self._shakes = False
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        self._loop._count_python_tls("finished" if finished else "failed")
        if finished and self._engine_object().session_reused:
            self._loop._count_python_tls("resumed")

    def _engine_object(self):
        pipe = getattr(self, "_sslpipe", None)  # 3.10's
        return self._sslobj if pipe is None else pipe.ssl_object


def _positive(name, value, default):
    if value is None:
        return default
    if value <= 0:
        raise ValueError(f"{name} should be a positive number, got {value}")
    return value


class _Settings:
    """What a TLS connection is made from, in asyncio's words."""

    def __init__(
        self,
        sslcontext,
        server_side,
        server_hostname,
        ssl_handshake_timeout=None,
        ssl_shutdown_timeout=None,
    ):
        self.handshake_timeout = _positive(
            "ssl_handshake_timeout",
            ssl_handshake_timeout,
            constants.SSL_HANDSHAKE_TIMEOUT,
        )
        self.shutdown_timeout = _positive(
            "ssl_shutdown_timeout", ssl_shutdown_timeout, _SHUTDOWN_TIMEOUT
        )
        if not sslcontext:
            sslcontext = sslproto._create_transport_context(
                server_side, server_hostname
            )
        self.sslcontext = sslcontext
        self.server_side = server_side
        self.server_hostname = server_hostname

    def engine(self):
        """A TLSEngine, or None; and why. What is wrong with the settings is left
        to asyncio, which reports it as the handshake's failure."""
        hostname = self.server_hostname if not self.server_side else None
        try:
            return _tls.choose(
                self.sslcontext,
                server_side=bool(self.server_side),
                server_hostname=hostname or None,
            )
        except Exception as exc:
            return None, f"it could not be made: {exc}"

    def ssl_protocol(self, loop, protocol, waiter, reason, **options):
        """asyncio's, the `python` engine."""
        if _HAS_SHUTDOWN_TIMEOUT:
            options["ssl_shutdown_timeout"] = self.shutdown_timeout
        made = _SSLProtocol(
            loop,
            protocol,
            self.sslcontext,
            waiter,
            self.server_side,
            self.server_hostname,
            ssl_handshake_timeout=self.handshake_timeout,
            **options,
        )
        made._extra.update(tls_engine="python", tls_engine_reason=reason)
        return made


def _take_ciphertext(protocol, server_side):
    """What a stream reader has read beyond the request for TLS: the client's
    first flight may come with it (cpython 142352)."""
    if not server_side or not isinstance(protocol, StreamReaderProtocol):
        return b""
    reader = getattr(protocol, "_stream_reader", None)
    if reader is None or not reader._buffer:
        return b""
    data = bytes(reader._buffer)
    reader._buffer.clear()
    return data


def _feed(ssl_protocol, data):
    """Hand asyncio's SSLProtocol what it would have received."""
    if hasattr(ssl_protocol, "data_received"):  # 3.10
        ssl_protocol.data_received(data)
        return
    while data:
        buffer = ssl_protocol.get_buffer(len(data))
        part = data[: len(buffer)]
        buffer[: len(part)] = part
        ssl_protocol.buffer_updated(len(part))
        data = data[len(part) :]


class TlsMixin:
    """TLS half of Loop."""

    def _make_ssl_transport(
        self,
        rawsock,
        protocol,
        sslcontext,
        waiter=None,
        *,
        server_side=False,
        server_hostname=None,
        extra=None,
        server=None,
        **timeouts,
    ):
        self._ensure_fd_no_transport(rawsock)
        settings = _Settings(sslcontext, server_side, server_hostname, **timeouts)
        engine, reason = settings.engine()
        if engine is not None:
            transport = self._make_tls_transport(
                rawsock,
                protocol,
                engine,
                waiter,
                settings.handshake_timeout,
                settings.shutdown_timeout,
                extra,
                server,
            )
            if transport is not None:
                return transport
            reason = "the socket has methods of its own"
        ssl_protocol = settings.ssl_protocol(self, protocol, waiter, reason)
        ssl_protocol._accepted = server is not None
        self._make_socket_transport(rawsock, ssl_protocol, extra=extra, server=server)
        return ssl_protocol._app_transport

    def _tls_serving(self, sslcontext, timeouts):
        """For a listener: a function that gives an engine for one connection, or
        None where asyncio has to serve it; and both time-outs. None where asyncio
        has to serve all, or to say what is wrong."""
        try:
            settings = _Settings(sslcontext, True, None, **timeouts)
        except Exception:
            return None
        engine = _tls.server_engines(sslcontext)
        return engine, settings.handshake_timeout, settings.shutdown_timeout

    async def start_tls(
        self,
        transport,
        protocol,
        sslcontext,
        *,
        server_side=False,
        server_hostname=None,
        ssl_handshake_timeout=None,
        ssl_shutdown_timeout=None,
    ):
        if ssl is None:
            raise RuntimeError("Python ssl module is not available")
        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(
                "sslcontext is expected to be an instance of ssl.SSLContext, "
                f"got {sslcontext!r}"
            )
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        settings = _Settings(
            sslcontext,
            server_side,
            server_hostname,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )
        engine, reason = settings.engine()
        if engine is not None and not _is_plain(transport):
            engine, reason = None, "the transport has TLS already, or is no stream"
        # The protocol may not see what follows.
        transport.pause_reading()
        if engine is None:
            return await self._start_python_tls(transport, protocol, settings, reason)
        return await self._start_native_tls(transport, protocol, settings, engine)

    async def _start_native_tls(self, transport, protocol, settings, engine):
        if transport.get_write_buffer_size():
            drained = transport._make_empty_waiter()
            try:
                await drained
            finally:
                transport._reset_empty_waiter()
        waiter = self.create_future()
        made = transport._start_tls(
            protocol,
            engine,
            waiter,
            settings.handshake_timeout,
            settings.shutdown_timeout,
            _take_ciphertext(protocol, settings.server_side),
        )
        try:
            await waiter
            return made
        except BaseException:
            made.close()
            raise
        finally:
            # The exception's traceback has this frame: no cycles (gh-159049).
            del waiter, made, transport

    async def _start_python_tls(self, transport, protocol, settings, reason):
        waiter = self.create_future()
        ssl_protocol = settings.ssl_protocol(
            self, protocol, waiter, reason, call_connection_made=False
        )
        transport.set_protocol(ssl_protocol)
        steps = [self.call_soon(ssl_protocol.connection_made, transport)]
        data = _take_ciphertext(protocol, settings.server_side)
        if data:
            steps.append(self.call_soon(_feed, ssl_protocol, data))
        steps.append(self.call_soon(transport.resume_reading))
        try:
            await waiter
            return ssl_protocol._app_transport
        except BaseException:
            transport.close()
            for step in steps:
                step.cancel()
            raise
        finally:
            del waiter, ssl_protocol, transport, steps


if not _HAS_SHUTDOWN_TIMEOUT:

    def _without_shutdown_timeout(start_tls):
        async def function(
            self,
            transport,
            protocol,
            sslcontext,
            *,
            server_side=False,
            server_hostname=None,
            ssl_handshake_timeout=None,
        ):
            return await start_tls(
                self,
                transport,
                protocol,
                sslcontext,
                server_side=server_side,
                server_hostname=server_hostname,
                ssl_handshake_timeout=ssl_handshake_timeout,
            )

        function.__name__ = start_tls.__name__
        function.__qualname__ = start_tls.__qualname__
        return function

    TlsMixin.start_tls = _without_shutdown_timeout(TlsMixin.start_tls)  # 3.10's

TlsMixin.start_tls.__doc__ = base_events.BaseEventLoop.start_tls.__doc__


def _is_plain(transport):
    return type(transport) is _core.StreamTransport
