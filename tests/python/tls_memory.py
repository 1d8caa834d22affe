# SPDX-License-Identifier: Apache-2.0
"""TLS in memory: engines of rsloop_c and, with the same method, CPython's own
SSLObject, of which they are not to differ."""

import ssl
from pathlib import Path

from rsloop_c import _tls

CERTS = Path(__file__).parents[1] / "runtime" / "tls_certs"


def cert(name):
    return str(CERTS / name)


class Own:
    """CPython's SSLObject, driven as TLSEngine._talk() is."""

    name = "cpython"

    def __init__(self, context, *, server_side, server_hostname):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side,
            server_hostname=server_hostname)
        self.state = "handshake"
        self.error = None

    def _talk(self, received, send=b""):
        plain = b""
        if received is None:
            self.incoming.write_eof()
        elif received:
            self.incoming.write(received)
        try:
            if self.state == "handshake":
                self.ssl_object.do_handshake()
                self.state = "open"
            if self.state == "open":
                if send:
                    self.ssl_object.write(send)
                while piece := self.ssl_object.read(65536):
                    plain += piece
                self.state = "peer closed"
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as exc:
            self.state, self.error = "failed", exc
        return self.state, self.outgoing.read(), plain

    def _exception(self):
        return self.error


def make(kind, context, *, server_side=False, server_hostname="localhost"):
    """One side: "cpython", or what an engine has to be called."""
    if server_side:
        server_hostname = None
    if kind == "cpython":
        return Own(context, server_side=server_side,
                   server_hostname=server_hostname)
    context.tls_engine = kind
    engine, reason = _tls.choose(
        context, server_side=server_side, server_hostname=server_hostname)
    assert engine is not None and engine.name == kind, reason
    return engine


def meet(client, server):
    """Shake hands, or fail to; what the two have come to."""
    to_client = b""
    for _ in range(10):
        client_state, to_server, _ = client._talk(to_client)
        server_state, to_client, _ = server._talk(to_server)
        if not to_server and not to_client:
            break
    return client_state, server_state


def says(sender, receiver, data):
    """What arrives of data."""
    _, wire, _ = sender._talk(b"", data)
    return bytes(receiver._talk(wire)[2])
