# SPDX-License-Identifier: Apache-2.0
"""What happens to a connection once or never: reports, TLS, accept failures.

The C transports and listeners call these methods of the loop by name.
"""

from __future__ import annotations

import errno
import os
import socket
from asyncio import constants, trsock
from asyncio.log import logger

from . import _flight

# accept() fails with these until somebody closes something.
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class TransportColdMixin:
    """Cold half of stream transports and listeners, mixed into Loop."""

    def _on_fatal_error(self, transport, protocol, exc, message):
        """The report of asyncio's transport._fatal_error()."""
        if isinstance(exc, OSError):
            if self.get_debug():
                logger.debug("%r: %s", transport, message, exc_info=exc)
            return
        self._on_flow_error(transport, protocol, exc, message)

    def _on_flow_error(self, transport, protocol, exc, message):
        self.call_exception_handler(
            {
                "message": message,
                "exception": exc,
                "transport": transport,
                "protocol": protocol,
                **_flight.of_transport(transport),
            }
        )

    def _on_accepted(self, server, transport):
        """Debug mode: what asyncio logs for each new connection."""
        logger.debug(
            "%r got a new connection from %r: %r",
            server,
            transport.get_extra_info("peername"),
            transport.get_extra_info("socket"),
        )

    def _on_accept_failed(self, exc, protocol):
        """Debug mode: a protocol factory or a transport raised."""
        context = {
            "message": "Error on transport creation for incoming connection",
            "exception": exc,
        }
        if protocol is not None:
            context["protocol"] = protocol
        self.call_exception_handler(context)

    def _on_accept_error(self, sock, exc):
        """accept() failed; the listener is paused until we resume it."""
        if exc.errno in _OUT_OF_RESOURCES:
            message = "socket.accept() out of system resource"
        else:
            message = "socket.accept() failed"
        self.call_later(constants.ACCEPT_RETRY_DELAY, self._resume_accepting, sock)
        self.call_exception_handler(
            {
                "message": message,
                "exception": exc,
                "socket": trsock.TransportSocket(sock),
            }
        )

    def _accept_tls(
        self,
        fd,
        peername,
        listener,
        protocol_factory,
        sslcontext,
        server,
        timeouts,
        *made,
    ):
        """Take an accepted fd; asyncio's coroutine makes its transport, for the
        protocol that was made already, if one was."""
        if made:

            def protocol_factory():
                return made[0]

        try:
            conn = socket.socket(
                listener.family, listener.type, listener.proto, fileno=fd
            )
        except BaseException:
            os.close(fd)
            raise
        conn.setblocking(False)
        if self.get_debug():
            logger.debug("%r got a new connection from %r: %r", server, peername, conn)
        task = self.create_task(
            self._accept_connection2(
                protocol_factory,
                conn,
                {"peername": peername},
                sslcontext,
                server,
                **timeouts,
            )
        )
        # Not by the coroutine: a task may be cancelled before it begins.
        task.add_done_callback(self._on_accept_tls_done)

    def _on_accept_tls_done(self, task):
        self._handshake_ended()
