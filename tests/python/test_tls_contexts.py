# SPDX-License-Identifier: Apache-2.0
"""TLS: each setting of an SSLContext has its effect, whatever engine runs."""

import os
import shutil
import ssl
import subprocess
import sys

import pytest

from support import Echo
from tls import (
    TLS12,
    each_version,
    engine_of,
    new_context,
    of_any_loop,
    path_of,
    peer_by_hand,
    serving,
    ssl_object_of,
    talk,
    tls_pair,
    trusting,
)

pytestmark = of_any_loop

HERE = os.path.dirname(os.path.abspath(__file__))


# --- extra info and the ssl_object ---

@each_version
async def test_extra_info_is_what_the_ssl_object_says(loop, version):
    contexts = serving(version=version), trusting()
    async with tls_pair(*contexts) as pair:
        for protocol, context in zip(pair, contexts, strict=True):
            info = protocol.transport.get_extra_info
            ssl_object = info("ssl_object")
            assert info("sslcontext") is context
            assert ssl_object.context is context
            assert info("cipher") == ssl_object.cipher()
            assert info("compression") is ssl_object.compression() is None
            assert info("peercert") == ssl_object.getpeercert()
            assert info("socket").fileno() > 0
            assert info("peername") and info("sockname")
        assert pair[0].transport.get_extra_info("peercert") is None
        names = pair[1].transport.get_extra_info("peercert")["subjectAltName"]
        assert ("DNS", "localhost") in names


@each_version
async def test_both_sides_agree_on_the_session(loop, version):
    async with tls_pair(serving(version=version), trusting()) as pair:
        served, client = map(ssl_object_of, pair)
        assert served.version() == client.version()
        assert served.cipher() == client.cipher()
        name, protocol, bits = client.cipher()
        assert name in [cipher["name"] for cipher in
                        trusting().get_ciphers()]
        # OpenSSL says since which version there is such a cipher.
        assert protocol.startswith("TLSv1.") and bits in (128, 256)
        assert served.server_side and not client.server_side
        assert client.server_hostname == "localhost"
        assert served.shared_ciphers() or engine_of(pair[0]) == "mbedtls"
        # CPython's own says more on some versions.
        assert (client.shared_ciphers() is None
                or isinstance(client, ssl.SSLObject))
        assert client.pending() == 0


@each_version
async def test_peercert_in_its_two_forms(loop, version):
    async with tls_pair(serving(version=version)) as (_, client):
        ssl_object = ssl_object_of(client)
        with open(path_of("ec.pem")) as file:
            leaf = file.read().partition("-----END")[0] + (
                "-----END CERTIFICATE-----\n")
        assert ssl_object.getpeercert(True) == ssl.PEM_cert_to_DER_cert(leaf)
        fields = ssl_object.getpeercert()
        assert set(fields) >= {"subject", "issuer", "version", "serialNumber",
                               "notBefore", "notAfter", "subjectAltName"}


async def test_peercert_without_verification_is_empty(loop):
    """As with OpenSSL: there is one, but it proves nothing."""
    context = trusting(ca=None, check_hostname=False,
                       verify_mode=ssl.CERT_NONE)
    async with tls_pair(client_context=context) as (_, client):
        assert client.transport.get_extra_info("peercert") == {}
        assert ssl_object_of(client).getpeercert(True)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in 3.13")
async def test_chains_of_the_ssl_object(loop):
    async with tls_pair() as (_, client):
        ssl_object = ssl_object_of(client)
        assert len(ssl_object.get_unverified_chain()) == 2
        if engine_of(client) != "mbedtls":
            assert len(ssl_object.get_verified_chain()) == 3


async def test_tls_unique_is_the_same_on_both_sides(loop):
    async with tls_pair(serving(version=TLS12)) as pair:
        ours, theirs = (ssl_object_of(protocol).get_channel_binding(
            "tls-unique") for protocol in pair)
        assert ours == theirs and len(ours) == 12
        with pytest.raises(ValueError, match="channel binding type not impl"):
            ssl_object_of(pair[0]).get_channel_binding("no such thing")


async def test_extra_info_outlives_the_connection(loop):
    """3.10 and newer forget the ssl_object's connection, not what it was."""
    async with tls_pair() as (_, client):
        cipher = client.transport.get_extra_info("cipher")
        transport = client.transport
        transport.abort()
        await client.lost
        assert transport.get_extra_info("cipher") == cipher
        assert transport.get_extra_info("nothing", 7) == 7


# --- versions, ciphers, ALPN, options ---

@pytest.mark.parametrize("side", ["server", "client"])
@each_version
async def test_version_limits_of_either_side(loop, side, version):
    contexts = ((serving(version=version), trusting()) if side == "server"
                else (serving(), trusting(version=version)))
    async with tls_pair(*contexts, server=Echo) as (served, client):
        for protocol in (served, client):
            assert ssl_object_of(protocol).version() == (
                version.name.replace("_", "."))
        await talk(client)


@pytest.mark.parametrize("option, version", [
    (ssl.OP_NO_TLSv1_3, "TLSv1.2"), (ssl.OP_NO_TLSv1_2, "TLSv1.3")])
@pytest.mark.parametrize("side", [0, 1], ids=["server", "client"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_options_that_forbid_versions(loop, option, version, side):
    if side == 1 and option == ssl.OP_NO_TLSv1_2 and (
            (3, 11) <= sys.version_info < (3, 11, 7)):
        pytest.skip("the client's lowest version stays 1.2 there: no ClientHello")
    contexts = serving(), trusting()
    contexts[side].options |= option
    async with tls_pair(*contexts) as (_, client):
        assert ssl_object_of(client).version() == version


CIPHERS = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
           "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-SHA256",
           "ECDHE-ECDSA-AES256-SHA"]


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("side", [0, 1], ids=["server", "client"])
async def test_set_ciphers_decides(loop, cipher, side):
    contexts = serving(version=TLS12), trusting()
    contexts[side].set_ciphers(cipher)
    contexts[1 - side].set_ciphers("ALL:@SECLEVEL=0")
    async with tls_pair(*contexts, server=Echo) as (_, client):
        assert client.transport.get_extra_info("cipher")[0] == cipher
        await talk(client)


@pytest.mark.parametrize("preference", [True, False])
async def test_whose_order_of_ciphers_counts(loop, preference):
    contexts = serving(version=TLS12), trusting()
    contexts[0].set_ciphers(f"{CIPHERS[0]}:{CIPHERS[1]}")
    contexts[1].set_ciphers(f"{CIPHERS[1]}:{CIPHERS[0]}")
    if preference:
        contexts[0].options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        contexts[0].options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    async with tls_pair(*contexts) as (_, client):
        assert client.transport.get_extra_info("cipher")[0] == (
            CIPHERS[0] if preference else CIPHERS[1])


@pytest.mark.parametrize("server, client, chosen", [
    (["h2", "http/1.1"], ["http/1.1", "h2"], "h2"),
    (["http/1.1"], ["h2", "http/1.1"], "http/1.1"),
    (["h2"], ["http/1.1"], None), (["h2"], None, None), (None, ["h2"], None)])
@each_version
async def test_alpn(loop, server, client, chosen, version):
    """Without overlap the connection goes on without."""
    contexts = serving(version=version), trusting()
    for context, names in zip(contexts, (server, client), strict=True):
        if names is not None:
            context.set_alpn_protocols(names)
    async with tls_pair(*contexts, server=Echo) as (served, client):
        for protocol in (served, client):
            assert ssl_object_of(protocol).selected_alpn_protocol() == chosen
        await talk(client)


@pytest.mark.parametrize("curve", ["prime256v1", "secp384r1"])
async def test_ecdh_curve_of_the_server(loop, curve):
    context = serving(version=TLS12)
    context.set_ecdh_curve(curve)
    async with tls_pair(context, server=Echo) as (_, client):
        await talk(client)


# --- keys, chains, CAs ---

@pytest.mark.parametrize("password", [
    "secret", b"secret", bytearray(b"secret"), lambda: "secret"], ids=[
    "str", "bytes", "bytearray", "function"])
@pytest.mark.parametrize("key", ["key-encrypted.key", "key-pkcs8.key"])
async def test_encrypted_keys(loop, key, password):
    context = new_context(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        os.path.join(HERE, "tls_certs", "good.pem"),
        os.path.join(HERE, "tls_certs", key), password)
    client = new_context(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(os.path.join(HERE, "tls_certs", "root.pem"))
    async with tls_pair(context, client, server=Echo) as (_, client):
        await talk(client)


async def test_key_and_chain_in_one_file(loop, tmp_path):
    with open(tmp_path / "both.pem", "wb") as both:
        for name in ("ec.key", "ec.pem"):
            with open(path_of(name), "rb") as file:
                both.write(file.read())
    context = new_context(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    async with tls_pair(context, server=Echo) as (_, client):
        await talk(client)


@pytest.mark.parametrize("client_takes, key", [
    ("ECDSA", "EC"), ("RSA", "RSA")])
async def test_two_chains_of_different_keys(loop, client_takes, key):
    context = serving(version=TLS12)
    context.load_cert_chain(path_of("rsa.pem"), path_of("rsa.key"))
    client = trusting()
    client.set_ciphers(f"ECDHE+a{client_takes}")
    async with tls_pair(context, client) as (_, client):
        assert client_takes in client.transport.get_extra_info("cipher")[0]


@pytest.mark.parametrize("source", ["file", "text", "bytes", "folder"])
async def test_sources_of_cas(loop, source, tmp_path):
    context = trusting(ca=None)
    with open(path_of("ca.pem")) as file:
        text = file.read()
    if source == "file":
        context.load_verify_locations(cafile=path_of("ca.pem"))
    elif source == "text":
        context.load_verify_locations(cadata=text)
    elif source == "bytes":
        context.load_verify_locations(cadata=ssl.PEM_cert_to_DER_cert(text))
    else:
        digest = subprocess.run(
            ["openssl", "x509", "-hash", "-noout", "-in", path_of("ca.pem")],
            check=True, capture_output=True, text=True).stdout.strip()
        shutil.copy(path_of("ca.pem"), tmp_path / f"{digest}.0")
        context.load_verify_locations(capath=tmp_path)
    async with tls_pair(client_context=context, server=Echo) as (_, client):
        await talk(client)


async def test_default_locations_are_honoured(loop, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", path_of("ca.pem"))
    context = ssl.create_default_context()
    async with tls_pair(client_context=context, server=Echo) as (_, client):
        await talk(client)


@each_version
async def test_both_sides_show_certificates(loop, version):
    server_context = serving(version=version, verify_mode=ssl.CERT_REQUIRED)
    server_context.load_verify_locations(path_of("ca.pem"))
    client_context = trusting()
    client_context.load_cert_chain(path_of("client.pem"), path_of("ec.key"))
    async with tls_pair(server_context, client_context, server=Echo) as (
            served, client):
        await talk(client)
        assert served.transport.get_extra_info("peercert")["subject"] == (
            (("commonName", "client"),),)


@each_version
async def test_optional_certificate_that_is_not_there(loop, version):
    context = serving(version=version, verify_mode=ssl.CERT_OPTIONAL)
    context.load_verify_locations(path_of("ca.pem"))
    async with tls_pair(context, server=Echo) as (served, client):
        await talk(client)
        assert served.transport.get_extra_info("peercert") is None


async def test_changes_of_a_context_count_for_the_next_connection(loop):
    server_context, client_context = serving(), trusting()
    async with tls_pair(server_context, client_context) as (_, client):
        assert ssl_object_of(client).version() == "TLSv1.3"
    server_context.maximum_version = TLS12
    server_context.set_alpn_protocols(["second"])
    client_context.set_alpn_protocols(["second"])
    async with tls_pair(server_context, client_context) as (_, client):
        assert ssl_object_of(client).version() == "TLSv1.2"
        assert ssl_object_of(client).selected_alpn_protocol() == "second"
    server_context.load_cert_chain(path_of("expired.pem"), path_of("ec.key"))
    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        async with peer_by_hand("client", server_context=server_context,
                                client_context=client_context):
            pass
    assert raised.value.verify_code == 10
