# SPDX-License-Identifier: Apache-2.0
"""What an engine fails of: the exceptions are CPython's."""

import re
import ssl

import pytest

import rsloop_c
from tls_memory import cert, make, meet, says


def client_context():
    context = rsloop_c.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cert("ca.pem"))
    return context


def server_context(certificate="ec.pem", key="ec.key"):
    context = rsloop_c.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert(certificate), cert(key))
    return context


def essence(exc):
    """What users can see of an exception, but for the line of _ssl.c."""
    if exc is None:
        return None
    return (type(exc), exc.errno, re.sub(r"\(_ssl\.c:\d+\)", "", str(exc)),
            re.sub(r"\(_ssl\.c:\d+\)", "", exc.args[1]), vars(exc))


# Each gives the two sides in what they have come to.

def shake(kind, client, server, name="localhost"):
    sides = (make(kind, client, server_hostname=name),
             make(kind, server, server_side=True))
    meet(*sides)
    return sides


def good(kind):
    return shake(kind, client_context(), server_context())


def another_name(kind):
    return shake(kind, client_context(), server_context(), "other.example")


def another_address(kind):
    return shake(kind, client_context(), server_context(), "127.0.0.7")


def unknown_authority(kind):
    context = rsloop_c.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cert("other-ca.pem"))
    return shake(kind, context, server_context())


def self_signed(kind):
    return shake(kind, client_context(), server_context("self.pem"))


def expired(kind):
    return shake(kind, client_context(), server_context("expired.pem"))


def nameless(kind):
    context = client_context()
    context.hostname_checks_common_name = False
    return shake(kind, context, server_context("nameless.pem"))


def revoked(kind):
    context = client_context()
    context.load_verify_locations(cert("crl.pem"))
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return shake(kind, context, server_context("revoked.pem"))


def no_list_of_the_revoked(kind):
    context = client_context()
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return shake(kind, context, server_context())


def no_client_certificate(kind):
    server = server_context()
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cert("ca.pem"))
    client = client_context()
    # In TLS 1.3 a client learns of it with its first read.
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    return shake(kind, client, server)


def a_bad_client_certificate(kind):
    server = server_context()
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cert("other-ca.pem"))
    client = client_context()
    client.load_cert_chain(cert("client.pem"), cert("ec.key"))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    return shake(kind, client, server)


def no_common_cipher(kind):
    client, server = client_context(), server_context()
    for context, suite in ((client, "ECDHE-ECDSA-AES128-GCM-SHA256"),
                           (server, "ECDHE-ECDSA-AES256-GCM-SHA384")):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(suite)
    return shake(kind, client, server)


def no_common_version(kind):
    client, server = client_context(), server_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    return shake(kind, client, server)


def plain_text_to_the_server(kind):
    server = make(kind, server_context(), server_side=True)
    server._talk(b"GET / HTTP/1.1\r\n\r\n")
    return server, server


def plain_text_to_the_client(kind):
    client = make(kind, client_context())
    client._talk(b"")
    client._talk(b"SSH-2.0-OpenSSH_9.2\r\n")
    return client, client


def an_end_in_the_handshake(kind):
    client = make(kind, client_context())
    client._talk(b"")
    client._talk(None)
    return client, client


def a_bad_record(kind):
    client, server = good(kind)
    _, wire, _ = server._talk(b"", b"data")
    client._talk(bytes(wire[:-1]) + bytes([wire[-1] ^ 1]))
    return client, server


def an_end_without_close_notify(kind):
    client, server = good(kind)
    assert says(client, server, b"data") == b"data"
    server._talk(None)
    return client, server


FAILURES = [
    another_name, another_address, unknown_authority, self_signed, expired,
    nameless, revoked, no_list_of_the_revoked, no_client_certificate,
    a_bad_client_certificate, no_common_cipher, no_common_version,
    plain_text_to_the_server, plain_text_to_the_client,
    an_end_in_the_handshake, a_bad_record,
]
# Some CPythons of 3.10 and 3.11 set OP_IGNORE_UNEXPECTED_EOF.
if not ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).options & 0x80:
    FAILURES.append(an_end_without_close_notify)


@pytest.mark.parametrize("failure", FAILURES)
def test_openssl_raises_what_cpython_raises(failure):
    expected = [essence(side._exception()) for side in failure("cpython")]
    assert expected != [None, None]
    assert [essence(side._exception()) for side in failure("openssl")] == expected


@pytest.mark.parametrize("failure", [
    another_name, another_address, unknown_authority, self_signed, expired,
    nameless, revoked, no_list_of_the_revoked])
def test_mbedtls_has_openssl_s_verdicts(failure):
    expected = failure("cpython")[0]._exception()
    assert type(expected) is ssl.SSLCertVerificationError
    assert essence(failure("mbedtls")[0]._exception()) == essence(expected)


def test_nothing_has_failed():
    for kind in "cpython", "openssl", "mbedtls":
        assert [side._exception() for side in good(kind)] == [None, None]
