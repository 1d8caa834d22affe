# SPDX-License-Identifier: Apache-2.0
"""Which TLS engine serves a connection, and why.

choose() looks at the context anew for each connection, since contexts change,
and answers before the first byte. An engine that cannot honour all that the
context says is not taken; what remains is asyncio's sslproto.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any

from . import _core, _tls_mbedtls, _tls_openssl
from ._tls_context import ENGINES, SSLContext
from ._tls_object import TLSObject
from ._tls_openssl import Unfit

if TYPE_CHECKING:
    from collections.abc import Callable

# What is tried, in this order, before sslproto. OpenSSL measures ahead.
_ORDER = {
    "auto": ("openssl", "mbedtls"),
    "openssl": ("openssl",),
    "mbedtls": ("mbedtls", "openssl"),
    "python": (),
}


def setting(context: ssl.SSLContext) -> tuple[str, str]:
    """Which engine is asked for, and by whom. Raises ValueError for a name that
    is none."""
    name, source = getattr(context, "tls_engine", None), "the context's tls_engine"
    if name is None:
        name, source = os.environ.get("RSLOOP_C_TLS") or "auto", "RSLOOP_C_TLS"
    if name not in ENGINES:
        raise ValueError(
            f"{source} must be 'auto', 'mbedtls', 'openssl' or 'python', not {name!r}"
        )
    return name, source


def choose(
    sslcontext: ssl.SSLContext, *, server_side: bool, server_hostname: str | None
) -> tuple[_core.TLSEngine | None, str]:
    """An engine that is ready for its handshake, and why it is this one.

    None for the engine: asyncio's sslproto has to serve the connection. Raises
    what sslcontext.wrap_bio() raises.
    """
    name, source = setting(sslcontext)
    if server_side or not server_hostname:
        server_hostname = None  # as in sslproto
    reasons = [] if name == "auto" else [f"{source} is {name!r}"]
    for candidate in _ORDER[name]:
        if candidate == "mbedtls" and name == "auto" and not _records(sslcontext):
            continue
        make: Any = _tls_mbedtls if candidate == "mbedtls" else _tls_openssl
        try:
            engine: _core.TLSEngine = make.engine(
                sslcontext,
                server_side=server_side,
                server_hostname=server_hostname,
                reasons=reasons,
            )
        except Unfit as unfit:
            reasons.append(f"not {candidate}: {unfit}")
            continue
        if not server_side:
            _resume(engine, sslcontext, server_hostname)
        return engine, engine.reason
    return None, "; ".join(reasons)


def server_engines(
    sslcontext: ssl.SSLContext,
) -> Callable[[], _core.TLSEngine | None]:
    """A function that chooses for each connection of a server. It gives None for
    asyncio's sslproto, which then raises what choose() has raised."""

    def engine() -> _core.TLSEngine | None:
        try:
            return choose(sslcontext, server_side=True, server_hostname=None)[0]
        except Exception:
            return None

    return engine


def _records(context: ssl.SSLContext) -> bool:
    return type(context) is SSLContext


def _resume(
    engine: _core.TLSEngine, context: ssl.SSLContext, server_hostname: str | None
) -> None:
    """Let a client offer a session and keep those that it gets: for the same
    engine, name and rules, by which the peer has been judged before."""
    sessions = context._sessions if isinstance(context, SSLContext) else None
    if sessions is not None and server_hostname is not None:
        rules = _tls_mbedtls.fingerprint(context)
        engine._use_sessions(
            sessions, repr((engine.name, server_hostname, rules)).encode()
        )


def extra_of(engine: _core.TLSEngine) -> dict[str, Any]:
    """What get_extra_info() knows of a connection after its handshake."""
    ssl_object = engine.ssl_object or TLSObject(engine)
    return {
        "sslcontext": engine.context,
        "ssl_object": ssl_object,
        "peercert": _peercert(ssl_object),
        "cipher": ssl_object.cipher(),
        "compression": ssl_object.compression(),
        "tls_engine": engine.name,
        "tls_engine_reason": engine.reason,
    }


def _peercert(ssl_object: Any) -> Any:
    try:
        return ssl_object.getpeercert()
    except ValueError:  # OpenSSL's state after a failure: no handshake is done
        return None
