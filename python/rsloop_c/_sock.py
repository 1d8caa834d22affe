# SPDX-License-Identifier: Apache-2.0
"""loop.sock_*(): coroutines over C steps.

A step tries the operation and answers with its result, with a future that is
done when another try is worth it, or with NotImplemented: then asyncio's own
coroutine, behind this one, decides. So sockets that are not exactly
socket.socket, debug mode and wrong arguments are judged by asyncio's code, and
what is left here is what runs per message. sock_connect(), sock_sendto() and
sock_sendfile() gain nothing from it and stay asyncio's.

Nothing is read or accepted before the task that waits is resumed, so that a
cancellation loses nothing.
"""

from __future__ import annotations

from asyncio import futures, selector_events

_Future = futures.Future
_AsyncioLoop = selector_events.BaseSelectorEventLoop


class SockMixin:
    """sock_recv(), sock_sendall() and sock_accept() of AbstractEventLoop."""

    async def _wait_for(self, sock, future):
        try:
            await future
        except BaseException:
            self._forget_wait(sock, future)
            raise

    async def _go_on(self, future, step, sock, *args):
        """The result of `step`, whose first try gave a future."""
        result = future
        while result.__class__ is _Future:
            await self._wait_for(sock, result)
            result = step(sock, *args)
        return result

    async def sock_recv(self, sock, n):
        """Receive at most n bytes; b"" at the end of the stream."""
        result = self._recv_now(sock, n)
        if result.__class__ is _Future:
            result = await self._go_on(result, self._recv_now, sock, n)
        if result is NotImplemented:
            return await super().sock_recv(sock, n)
        return result

    async def sock_recv_into(self, sock, buf):
        """Receive into a writable buffer; returns the number of bytes."""
        result = self._recv_into_now(sock, buf)
        if result.__class__ is _Future:
            result = await self._go_on(result, self._recv_into_now, sock, buf)
        if result is NotImplemented:
            return await super().sock_recv_into(sock, buf)
        return result

    if hasattr(_AsyncioLoop, "sock_recvfrom"):  # 3.11

        async def sock_recvfrom(self, sock, bufsize):
            """Receive a datagram; returns (data, address)."""
            result = self._recvfrom_now(sock, bufsize)
            if result.__class__ is _Future:
                result = await self._go_on(result, self._recvfrom_now, sock, bufsize)
            if result is NotImplemented:
                return await super().sock_recvfrom(sock, bufsize)
            return result

        async def sock_recvfrom_into(self, sock, buf, nbytes=0):
            """Receive a datagram into buf; returns (bytes, address)."""
            result = self._recvfrom_into_now(sock, buf, nbytes)
            if result.__class__ is _Future:
                result = await self._go_on(
                    result, self._recvfrom_into_now, sock, buf, nbytes
                )
            if result is NotImplemented:
                return await super().sock_recvfrom_into(sock, buf, nbytes)
            return result

    async def sock_sendall(self, sock, data):
        """Send all of data, or raise: then nobody knows how much has left."""
        result = self._send_now(sock, data, 0)
        if result is None:
            return
        if result is NotImplemented:
            await super().sock_sendall(sock, data)
            return
        sent = 0
        with memoryview(data) as view:  # as asyncio: nobody may resize it now
            while result is not None:
                if result.__class__ is _Future:
                    await self._wait_for(sock, result)
                elif result is NotImplemented:
                    await super().sock_sendall(sock, view.cast("B")[sent:])
                    return
                else:
                    sent = result
                result = self._send_now(sock, view, sent)

    async def sock_accept(self, sock):
        """Accept a connection; returns (non-blocking socket, address)."""
        result = self._accept_now(sock)
        if result.__class__ is _Future:
            result = await self._go_on(result, self._accept_now, sock)
        if result is NotImplemented:
            return await super().sock_accept(sock)
        return result
