# SPDX-License-Identifier: Apache-2.0
"""What get_extra_info("ssl_object") is where no libssl has made the
connection: ssl.SSLObject's getters over what was agreed on."""

from __future__ import annotations

import _ssl
import os
import ssl
from typing import Any

from . import _core


class TLSObject:
    """The facts of one connection, taken after its handshake."""

    session = None  # mbedTLS's are no ssl.SSLSession

    def __init__(self, engine: _core.TLSEngine) -> None:
        info = engine._info()
        self.context = engine.context
        self.server_side = engine.server_side
        self.server_hostname = engine.server_hostname
        self.session_reused = bool(info["resumed"])
        self._info = info
        self._chain = engine._peer_chain()
        self._unique = engine._tls_unique()
        self._verified = engine.context.verify_mode != ssl.CERT_NONE

    def version(self) -> str | None:
        version: str | None = self._info["version"]
        return version

    def cipher(self) -> tuple[str, str, int] | None:
        info = self._info
        return info["cipher"], info["cipher_protocol"], info["cipher_bits"]

    def shared_ciphers(self) -> None:
        """Not known of mbedTLS; None as for a client."""

    def compression(self) -> None:
        """There is none."""

    def pending(self) -> int:
        return 0

    def selected_alpn_protocol(self) -> str | None:
        alpn = self._info["alpn"]
        return None if alpn is None else str(alpn)

    def selected_npn_protocol(self) -> None:
        """There is none."""

    def getpeercert(self, binary_form: bool = False) -> Any:
        if not self._chain:
            return None
        if binary_form:
            return self._chain[0]
        return _decoded(self._chain[0]) if self._verified else {}

    def get_unverified_chain(self) -> list[bytes]:
        return list(self._chain)

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        if cb_type not in ssl.CHANNEL_BINDING_TYPES:
            raise ValueError(f"{cb_type} channel binding type not implemented")
        return self._unique

    def _driven(self, *_: Any) -> Any:
        raise ValueError("the connection is driven by the event loop")

    do_handshake = read = write = unwrap = verify_client_post_handshake = _driven


def _decoded(der: bytes) -> dict[str, Any]:
    """What SSLObject.getpeercert() says of a certificate. _ssl decodes only its
    connections' and, for tests, a file's."""
    fd = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(fd, ssl.DER_cert_to_PEM_cert(der).encode("ascii"))
        decode: Any = _ssl._test_decode_cert  # type: ignore[attr-defined]
        fields: dict[str, Any] = decode(f"/proc/self/fd/{fd}")
        return fields
    finally:
        os.close(fd)
