# SPDX-License-Identifier: Apache-2.0
"""The `openssl` engine: the context's own SSL, driven without the GIL."""

from __future__ import annotations

import _ssl
import functools
import ssl
from typing import TYPE_CHECKING, Any

from . import _core

if TYPE_CHECKING:
    SSLContext = ssl.SSLContext
else:
    # As CPython made it: packages put theirs in its place.
    _mro = ssl.SSLContext.__mro__
    SSLContext = _mro[_mro.index(_ssl._SSLContext) - 1]


class Unfit(Exception):
    """Why a context cannot be served by an engine."""


def engine(
    context: ssl.SSLContext,
    *,
    server_side: bool,
    server_hostname: str | None,
    reasons: list[str],
) -> _core.TLSEngine:
    """An engine over what wrap_bio() makes. Raises Unfit, or as wrap_bio()."""
    _check(context)
    ssl_object = context.wrap_bio(
        ssl.MemoryBIO(),
        ssl.MemoryBIO(),
        server_side=server_side,
        server_hostname=server_hostname,
    )
    if type(ssl_object) is not ssl.SSLObject:
        raise Unfit("wrap_bio() gives no ssl.SSLObject")
    raw = ssl_object._sslobj  # type: ignore[attr-defined]
    needs_gil = calls_python(context)
    reason = "libssl, without the GIL"
    if needs_gil:
        reason = "libssl, on the loop's thread: the context calls Python"
    made = _core._tls_openssl_engine(
        context,
        ssl_object,
        raw,
        server_hostname,
        "; ".join([*reasons, reason]),
        needs_gil,
    )
    if made is None:
        raise Unfit("wrap_bio() uses another context")
    return made


def _check(context: Any) -> None:
    problem = unreachable()
    if problem is not None:
        raise Unfit(problem)
    if type(context) not in served_types:
        raise Unfit(f"{type(context).__qualname__} is a class of its own")
    if context.sslobject_class is not ssl.SSLObject:
        raise Unfit("the context has an sslobject_class of its own")
    # The ssl module keeps what these raise and raises it from its own calls.
    callback = callback_of(context)
    if callback is not None:
        raise Unfit(f"the context has a {callback}")
    if calls_python(context) and not _core._tls_main_interpreter():
        raise Unfit("the context calls Python, in a subinterpreter")


def callback_of(context: Any) -> str | None:
    """A callback of the context that only the ssl module can serve."""
    if context._msg_callback is not None:
        return "message callback"
    for offset in _psk_offsets():
        if offset < 0 or _core._tls_context_word_set(context, offset):
            return "PSK callback"
    return None


def calls_python(context: Any) -> bool:
    """Whether libssl calls Python in handshakes of this context."""
    return context.sni_callback is not None or context.keylog_filename is not None


# Classes whose objects are served; rsloop_c.SSLContext adds itself.
served_types: set[type] = {SSLContext}


@functools.cache
def unreachable() -> str | None:
    """Why no libssl can be driven in this interpreter; None: one can be."""
    path = getattr(_ssl, "__file__", None)
    if path is None:
        return "this Python has its OpenSSL inside: _ssl has no file"
    missing = _core._tls_openssl_open(path, ssl.OPENSSL_VERSION_NUMBER)
    if missing is not None:
        return f"this Python hides its OpenSSL: no {missing} to be found"
    client, server = _samples()
    for context in (client, server):
        differs = _differs(context, server_side=context is server)
        if differs is not None:
            return f"_ssl is not laid out as expected: {differs}"
    return None


def _samples() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Two contexts whose settings differ where the self-test looks."""
    client = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.options |= ssl.OP_NO_TICKET
    server.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    server.num_tickets = 5
    return client, server


def _differs(context: ssl.SSLContext, *, server_side: bool) -> str | None:
    ssl_object: Any = context.wrap_bio(
        ssl.MemoryBIO(),
        ssl.MemoryBIO(),
        server_side=server_side,
        server_hostname=None if server_side else "localhost",
    )
    return _core._tls_openssl_differs(
        context,
        ssl_object._sslobj,
        int(context.options),
        int(context.verify_mode),
        context.num_tickets,
    )


@functools.cache
def _psk_offsets() -> tuple[int, ...]:
    """Where contexts keep their PSK callbacks, which they do not tell."""
    offsets = []
    for protocol, setter in (
        (ssl.PROTOCOL_TLS_CLIENT, "set_psk_client_callback"),
        (ssl.PROTOCOL_TLS_SERVER, "set_psk_server_callback"),
    ):
        if getattr(ssl, "HAS_PSK", False):
            context = SSLContext(protocol)

            def callback(*_: object) -> None: ...

            getattr(context, setter)(callback)
            offsets.append(_core._tls_context_word(context, callback))
    return tuple(offsets)
