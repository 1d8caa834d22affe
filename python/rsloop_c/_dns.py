# SPDX-License-Identifier: Apache-2.0
"""Name look-ups on native threads instead of the default executor's.

Arguments are judged by the socket module itself: it is called with a flag that
no libc knows, so that it checks and converts everything, raises its audit
event and is then refused with EAI_BADFLAGS before anything is looked up. What
it accepted is looked up natively. So TypeError, ValueError, UnicodeError and
the rest are this interpreter's own, whichever version it is.
"""

from __future__ import annotations

import _socket
import operator
import socket
from asyncio import base_events

# In neither AI_* nor NI_*, and still a C int.
_UNKNOWN_FLAG = 1 << 30

_GETADDRINFO = socket.getaddrinfo
_GETNAMEINFO = socket.getnameinfo
_NI_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


def _enum(value, kind):
    try:
        return kind(value)
    except ValueError:
        return value


def _is_numeric(host):
    """True for what libc turns into an address without asking anyone."""
    if host is None:
        return True
    if type(host) is not str:
        return False
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):
        return False
    return True


def _refused(function, *arguments):
    """Let the socket module check the arguments; True when it got as far as
    libc and libc refused the unknown flag."""
    try:
        function(*arguments)
    except socket.gaierror as exc:
        if exc.errno != socket.EAI_BADFLAGS:
            raise
        return True
    return False


class ResolverMixin:
    """getaddrinfo() and getnameinfo() of asyncio.AbstractEventLoop."""

    async def getaddrinfo(self, host, port, *, family=0, type=0, proto=0, flags=0):
        """The result of socket.getaddrinfo(), without blocking the loop."""
        # Debug mode has asyncio's report of slow look-ups. A socket function
        # that somebody replaced is meant to be called.
        replaced = base_events.socket.getaddrinfo is not _GETADDRINFO
        if self._debug or replaced:
            return await super().getaddrinfo(
                host, port, family=family, type=type, proto=proto, flags=flags
            )
        self._check_closed()
        try:
            flags_given = operator.index(flags)
        except TypeError:
            # Which of several bad arguments is found first is for it to say.
            return _GETADDRINFO(host, port, family, type, proto, flags)
        numeric_port = port is None or isinstance(port, int)
        wants_name = flags_given & socket.AI_CANONNAME
        if numeric_port and not wants_name and _is_numeric(host):
            return _GETADDRINFO(host, port, family, type, proto, flags)
        if not _refused(
            _socket.getaddrinfo,
            host,
            port,
            family,
            type,
            proto,
            flags_given | _UNKNOWN_FLAG,
        ):
            return await super().getaddrinfo(
                host, port, family=family, type=type, proto=proto, flags=flags
            )
        found = await self._getaddrinfo(host, port, family, type, proto, flags)
        return [
            (
                _enum(one[0], socket.AddressFamily),
                _enum(one[1], socket.SocketKind),
                *one[2:],
            )
            for one in found
        ]

    async def getnameinfo(self, sockaddr, flags=0):
        """The result of socket.getnameinfo(), without blocking the loop."""
        if base_events.socket.getnameinfo is not _GETNAMEINFO:
            return await super().getnameinfo(sockaddr, flags)
        self._check_closed()
        flags = operator.index(flags)
        if flags & _NI_NUMERIC == _NI_NUMERIC:
            return _GETNAMEINFO(sockaddr, flags)
        if not _refused(_socket.getnameinfo, sockaddr, flags | _UNKNOWN_FLAG):
            return await super().getnameinfo(sockaddr, flags)
        return await self._getnameinfo(sockaddr, flags)
