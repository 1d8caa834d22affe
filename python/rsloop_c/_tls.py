# SPDX-License-Identifier: Apache-2.0
"""Which TLS engine serves a connection, and why.

choose() looks at the context anew for each connection, since contexts change,
and answers before the first byte. An engine that cannot honour all that the
context says is not taken; what remains is asyncio's sslproto.
"""

from __future__ import annotations

import os
import ssl
from typing import Any

from . import _core, _tls_openssl

NAMES = ("auto", "mbedtls", "openssl", "python")


def setting() -> str:
    """What RSLOOP_C_TLS says. Raises ValueError when that is nothing."""
    name = os.environ.get("RSLOOP_C_TLS") or "auto"
    if name not in NAMES:
        raise ValueError(
            "RSLOOP_C_TLS must be 'auto', 'mbedtls', 'openssl' or 'python', "
            f"not '{name}'"
        )
    return name


def choose(
    sslcontext: ssl.SSLContext, *, server_side: bool, server_hostname: str | None
) -> tuple[_core.TLSEngine | None, str]:
    """An engine that is ready for its handshake, and why it is this one.

    None for the engine: asyncio's sslproto has to serve the connection. Raises
    what sslcontext.wrap_bio() raises.
    """
    name = setting()
    if name == "python":
        return None, "RSLOOP_C_TLS says so"
    return _tls_openssl.engine(
        sslcontext, server_side=server_side, server_hostname=server_hostname
    )


def extra_of(engine: _core.TLSEngine) -> dict[str, Any]:
    """What get_extra_info() knows of a connection after its handshake."""
    ssl_object = engine.ssl_object
    return {
        "sslcontext": engine.context,
        "ssl_object": ssl_object,
        "peercert": ssl_object.getpeercert(),
        "cipher": ssl_object.cipher(),
        "compression": ssl_object.compression(),
        "tls_engine": engine.name,
        "tls_engine_reason": engine.reason,
    }
