# SPDX-License-Identifier: Apache-2.0
"""Which transport a datagram socket gets, and what is noted of it once."""

from __future__ import annotations

import socket
from asyncio import trsock

# Families whose addresses the C side reads and writes.
_NATIVE_FAMILIES = frozenset({socket.AF_INET, socket.AF_INET6, socket.AF_UNIX})
_SOCKET_METHODS = ("recvfrom", "send", "sendto", "fileno", "close")


def _is_plain(sock):
    """May messages pass by the socket object's own methods unnoticed?

    Not those of a class that has its own (a SOCKS client), nor of a stand-in.
    """
    kind = type(sock)
    return (
        isinstance(sock, socket.socket)
        and sock.family in _NATIVE_FAMILIES
        and all(
            getattr(kind, name, None) is getattr(socket.socket, name)
            for name in _SOCKET_METHODS
        )
    )


def _name_of(call):
    try:
        return call()
    except OSError:
        return None


class DatagramMixin:
    """Datagram endpoints over C transports, mixed into Loop."""

    def _make_datagram_transport(
        self, sock, protocol, address=None, waiter=None, extra=None
    ):
        if not _is_plain(sock):
            return super()._make_datagram_transport(
                sock, protocol, address, waiter, extra
            )
        extra = {} if extra is None else extra
        extra["socket"] = trsock.TransportSocket(sock)
        extra["sockname"] = _name_of(sock.getsockname)
        if "peername" not in extra:
            extra["peername"] = _name_of(sock.getpeername)
        return self._open_datagram_transport(sock, protocol, address, waiter, extra)
