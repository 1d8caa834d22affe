# SPDX-License-Identifier: Apache-2.0
"""rsloop_c.SSLContext: what it remembers, what mbedTLS makes of it, and the
sessions that its clients resume."""

import asyncio
import os
import ssl
import subprocess
from pathlib import Path

import pytest

import rsloop_c
from rsloop_c import _core, _tls, _tls_mbedtls
from support import LOOPBACK, PATIENCE, Echo, Recorder
from tls_memory import cert, make, meet, says

ENGINES = ["openssl", "mbedtls"]


@pytest.fixture(autouse=True)
def no_setting(monkeypatch):
    monkeypatch.delenv("RSLOOP_C_TLS", raising=False)


def client_context(**options):
    context = rsloop_c.SSLContext(ssl.PROTOCOL_TLS_CLIENT, **options)
    context.load_verify_locations(cert("ca.pem"))
    return context


def server_context(**options):
    context = rsloop_c.SSLContext(ssl.PROTOCOL_TLS_SERVER, **options)
    context.load_cert_chain(cert("ec.pem"), cert("ec.key"))
    return context


def connect(client, server, kinds=("mbedtls", "mbedtls"), name="localhost"):
    sides = (make(kinds[0], client, server_hostname=name),
             make(kinds[1], server, server_side=True))
    assert meet(*sides) == ("open", "open"), [
        side._exception() for side in sides]
    assert says(sides[1], sides[0], b"data") == b"data"
    return sides


def text(name):
    return Path(cert(name)).read_text()


def facts(engine):
    return _tls.extra_of(engine)["ssl_object"]


# --- It is an ssl.SSLContext ---

def test_it_is_what_ssl_has():
    context = client_context()
    assert isinstance(context, ssl.SSLContext)
    assert context.protocol == ssl.PROTOCOL_TLS_CLIENT
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    assert (context.tls_engine, context.session_cache) == (None, False)
    with pytest.warns(DeprecationWarning):
        rsloop_c.SSLContext()
    own = client_context(), server_context()
    assert meet(make("cpython", own[0]),
                make("cpython", own[1], server_side=True)) == ("open", "open")


def test_what_fails_is_not_remembered(tmp_path):
    context = rsloop_c.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for call in (
            lambda: context.load_cert_chain(tmp_path / "none"),
            lambda: context.load_cert_chain(cert("ec.pem"), cert("rsa.key")),
            lambda: context.load_cert_chain(
                cert("ec.pem"), cert("ec-encrypted.key"), "wrong"),
            lambda: context.load_verify_locations(tmp_path / "none"),
            lambda: context.load_verify_locations(cadata="nonsense"),
            lambda: context.load_verify_locations(),
            lambda: context.set_ciphers("NONSENSE"),
            lambda: context.set_alpn_protocols(["h" * 256])):
        with pytest.raises((OSError, TypeError, ValueError)):
            call()
    material = context._material
    assert (material.version, material.odd) == (0, None)
    assert not (material.chains or material.certificates or material.alpn)


# --- mbedTLS serves it ---

@pytest.mark.parametrize("password", [
    "secret", b"secret", bytearray(b"secret"), lambda: "secret",
    lambda: b"secret"])
def test_encrypted_keys(password):
    calls = []

    def ask():
        calls.append(1)
        return password()

    server = rsloop_c.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert("ec.pem"), cert("ec-encrypted.key"),
                           ask if callable(password) else password)
    connect(client_context(), server)
    assert len(calls) <= 1


def test_rsa_and_one_file_for_all(tmp_path):
    path = tmp_path / "all.pem"
    path.write_text(text("rsa.key") + text("rsa.pem"))
    server = rsloop_c.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    connect(client_context(), server)


def test_trust_from_data_and_folders(tmp_path):
    pem = text("ca.pem")
    der = ssl.PEM_cert_to_DER_cert(pem)
    name = subprocess.run(
        ["openssl", "x509", "-noout", "-subject_hash", "-in", cert("ca.pem")],
        check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    (tmp_path / f"{name}.0").write_text(pem)
    (tmp_path / "README").write_text("not looked at")
    for options in ({"cadata": pem}, {"cadata": der}, {"cadata": bytearray(der)},
                    {"capath": tmp_path}, {"capath": os.fsencode(tmp_path)},
                    {"cafile": os.fsencode(cert("ca.pem"))}):
        context = rsloop_c.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(**options)
        connect(context, server_context())


def test_the_system_s_trust(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", cert("ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    context = rsloop_c.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    connect(context, server_context())


def test_both_sides_have_certificates():
    client, server = client_context(), server_context()
    client.load_cert_chain(cert("client.pem"), cert("ec.key"))
    server.load_verify_locations(cert("ca.pem"))
    for mode in ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED:
        server.verify_mode = mode
        own = connect(client, server, ("cpython", "cpython"))[1].ssl_object
        for kind in ENGINES:
            known = facts(connect(client, server, (kind, kind))[1])
            assert known.getpeercert() == own.getpeercert() != {}
            assert known.getpeercert(True) == own.getpeercert(True)
    server.verify_mode = ssl.CERT_OPTIONAL
    for kind in ENGINES:
        known = facts(connect(client_context(), server, (kind, kind))[1])
        assert known.getpeercert() is None


def test_the_peer_is_not_judged():
    context = rsloop_c.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for kind in ENGINES:
        known = facts(connect(context, server_context(), (kind, kind))[0])
        assert known.getpeercert() == {}
        assert known.getpeercert(True) == ssl.PEM_cert_to_DER_cert(
            text("ec.pem").split("-----END")[0]
            + "-----END CERTIFICATE-----\n")


@pytest.mark.filterwarnings("ignore:ssl.OP_NO_SSL")
def test_versions_ciphers_and_protocols():
    for low, high, options, expected in (
            (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, 0, "TLSv1.2"),
            (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.MAXIMUM_SUPPORTED, 0,
             "TLSv1.3"),
            (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3,
             ssl.OP_NO_TLSv1_3, "TLSv1.2")):
        server = server_context()
        server.minimum_version, server.maximum_version = low, high
        server.options |= options
        server.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        server.set_alpn_protocols(["http/1.1"])
        client = client_context()
        client.set_alpn_protocols(["h2", "http/1.1"])
        known = facts(connect(client, server)[0])
        assert known.version() == expected
        assert known.selected_alpn_protocol() == "http/1.1"
        if expected == "TLSv1.2":
            assert known.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"


def test_the_key_log(tmp_path):
    client, server = client_context(), server_context()
    logs = {}
    for kind in ENGINES:
        logs[kind] = tmp_path / kind
        client.keylog_filename = str(logs[kind])
        connect(client, server, (kind, "cpython"))
    labels = [sorted(line.split()[0] for line in path.read_text().splitlines()
                     if not line.startswith("#")) for path in logs.values()]
    assert "CLIENT_TRAFFIC_SECRET_0" in labels[0]
    assert set(labels[1]) <= set(labels[0]) and "CLIENT_TRAFFIC_SECRET_0" in labels[1]


# --- mbedTLS does not serve it ---

def dh_file(tmp_path):
    path = tmp_path / "dh.pem"
    path.write_text("""-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
""")
    return path


UNFIT = [
    (lambda c, _: setattr(c, "sni_callback", print), "SNI callback"),
    (lambda c, _: setattr(c, "_msg_callback", print), "message callback"),
    (lambda c, _: c.load_cert_chain(cert("rsa.pem"), cert("rsa.key")),
     "more than one certificate"),
    (lambda c, path: c.load_dh_params(dh_file(path)), "Diffie-Hellman"),
    (lambda c, _: c.set_ecdh_curve("secp521r1"), "a curve of its own"),
    (lambda c, _: c.set_ciphers("DEFAULT:@SECLEVEL=1"), "security level 1"),
    (lambda c, _: setattr(c, "verify_flags",
                          c.verify_flags | ssl.VERIFY_X509_STRICT),
     "verify_flags"),
    (lambda c, _: setattr(c, "verify_flags", ssl.VERIFY_CRL_CHECK_CHAIN),
     "verify_flags"),
    (lambda c, _: setattr(c, "options",
                          c.options & ~ssl.OP_CIPHER_SERVER_PREFERENCE),
     "order of ciphers"),
    (lambda c, _: setattr(c, "options", c.options | 1 << 21),
     "options 0x200000"),            # OpenSSL's PRIORITIZE_CHACHA
    (lambda c, _: setattr(c, "sslobject_class", type("Own", (ssl.SSLObject,), {})),
     "sslobject_class"),
]


@pytest.mark.parametrize("change, reason", UNFIT, ids=[r for _, r in UNFIT])
def test_what_mbedtls_cannot_serve_faithfully(change, reason, tmp_path):
    context = server_context(tls_engine="mbedtls")
    change(context, tmp_path)
    engine, why = _tls.choose(context, server_side=True, server_hostname=None)
    assert engine is None or engine.name == "openssl"
    assert "; not mbedtls: " in why and reason in why


def test_ciphers_that_mbedtls_does_not_have(monkeypatch):
    lacking = 0xC02B                           # ECDHE-ECDSA-AES128-GCM-SHA256
    real = _core._tls_mbedtls_knows
    monkeypatch.setattr(_core, "_tls_mbedtls_knows",
                        lambda number: number != lacking and real(number))
    context = server_context()
    # Nobody has asked for it by name.
    make("mbedtls", context, server_side=True)
    context.set_ciphers("ECDHE+AESGCM")
    reason = _tls.choose(context, server_side=True, server_hostname=None)[1]
    assert "the context has ciphers that mbedTLS does not have" in reason


def test_trust_that_mbedtls_would_take_otherwise():
    # An intermediate alone: OpenSSL wants a chain to go on to its root.
    context = rsloop_c.SSLContext(ssl.PROTOCOL_TLS_CLIENT, tls_engine="mbedtls")
    pem = text("ec.pem").split("-----END CERTIFICATE-----\n")
    context.load_verify_locations(cadata=pem[1] + "-----END CERTIFICATE-----\n")
    reason = _tls.choose(context, server_side=False,
                         server_hostname="localhost")[1]
    assert "not the end of a chain" in reason
    context.verify_flags |= 0x80000            # VERIFY_X509_PARTIAL_CHAIN
    connect(context, server_context())


def test_trust_that_came_behind_its_back():
    context = client_context(tls_engine="mbedtls")
    ssl.SSLContext.load_verify_locations(context, cert("other-ca.pem"))
    reason = _tls.choose(context, server_side=False,
                         server_hostname="localhost")[1]
    assert "was not seen to be given" in reason


def test_files_that_cannot_be_read_again(tmp_path):
    context = rsloop_c.SSLContext(ssl.PROTOCOL_TLS_SERVER, tls_engine="mbedtls")
    reader, writer = os.pipe()
    os.write(writer, text("ec.pem").encode())
    os.close(writer)
    context.load_cert_chain(f"/dev/fd/{reader}", cert("ec.key"))
    os.close(reader)
    reason = _tls.choose(context, server_side=True, server_hostname=None)[1]
    assert "in no plain file" in reason


def test_the_config_follows_the_context(tmp_path):
    context = server_context()

    def config():
        return _tls_mbedtls._config(context, True)

    seen = [config()]
    assert config() is seen[0]
    for change in (
            lambda: context.load_verify_locations(cert("ca.pem")),
            lambda: context.set_ciphers("ECDHE+AESGCM"),
            lambda: context.set_alpn_protocols(["h2"]),
            lambda: setattr(context, "num_tickets", 1),
            lambda: setattr(context, "verify_mode", ssl.CERT_OPTIONAL),
            lambda: setattr(context, "maximum_version", ssl.TLSVersion.TLSv1_2),
            lambda: setattr(context, "options", context.options | ssl.OP_NO_TICKET),
            lambda: setattr(context, "keylog_filename", str(tmp_path / "log")),
            lambda: setattr(context, "hostname_checks_common_name", False),
            lambda: setattr(context, "verify_flags",
                            context.verify_flags | ssl.VERIFY_CRL_CHECK_LEAF)):
        change()
        seen.append(config())
        assert seen[-1] is not seen[-2] and config() is seen[-1]
    assert all(type(made) is _core.TLSConfig for made in seen)


# --- Sessions ---

@pytest.mark.parametrize("version", [
    ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("server_kind", [*ENGINES, "cpython"])
@pytest.mark.parametrize("kind", ENGINES)
def test_sessions_are_resumed(kind, server_kind, version):
    client, server = client_context(session_cache=True), server_context()
    client.maximum_version = version
    reused = []
    for _ in range(3):
        side = connect(client, server, (kind, server_kind))[0]
        known = facts(side)
        reused.append(known.session_reused)
        assert known.getpeercert()["subject"] == ((("commonName", "localhost"),),)
    assert reused == [False, True, True]
    client.session_cache = False
    assert not facts(connect(client, server, (kind, server_kind))[0]).session_reused


@pytest.mark.parametrize("kind", ENGINES)
def test_sessions_are_only_resumed_under_the_same_rules(kind):
    client, server = client_context(session_cache=True), server_context()

    def reused(name="localhost"):
        return facts(connect(client, server, (kind, kind), name)[0]).session_reused

    assert [reused(), reused()] == [False, True]
    assert [reused("127.0.0.1"), reused("127.0.0.1")] == [False, True]
    client.load_verify_locations(cert("other-ca.pem"))
    assert [reused(), reused()] == [False, True]
    client.hostname_checks_common_name = False
    assert [reused(), reused()] == [False, True]


def test_a_client_that_was_not_asked_keeps_none():
    client, server = client_context(), server_context()
    for kind in ENGINES:
        for _ in range(2):
            assert not facts(connect(client, server, (kind, kind))[0]).session_reused


def test_a_session_goes_to_one_connection():
    client, server = client_context(session_cache=True), server_context()
    server.num_tickets = 1
    connect(client, server, ("openssl", "openssl"))
    assert len(client._sessions) == 1
    first = make("openssl", client)
    second = make("openssl", client)
    assert len(client._sessions) == 0
    servers = [make("openssl", server, server_side=True) for _ in range(2)]
    assert meet(first, servers[0]) == meet(second, servers[1]) == ("open", "open")
    assert first.ssl_object.session_reused
    assert not second.ssl_object.session_reused


def test_servers_forget_no_client():
    # mbedTLS's tickets do not hold the client's certificate.
    client, server = client_context(session_cache=True), server_context()
    client.load_cert_chain(cert("client.pem"), cert("ec.key"))
    server.load_verify_locations(cert("ca.pem"))
    server.verify_mode = ssl.CERT_REQUIRED
    for kind in ENGINES:
        for _ in range(2):
            known = facts(connect(client, server, (kind, kind))[1])
            assert known.getpeercert()["subject"] == ((("commonName", "client"),),)


def test_the_sessions_of_many_names_are_bounded():
    client, server = client_context(), server_context()
    sessions = _core.TLSSessions()
    for number in range(300):
        engine = make("openssl", client)
        engine._use_sessions(sessions, b"name %d" % (number if number > 5 else 0))
        meet(engine, make("openssl", server, server_side=True))
    assert len(sessions) == 256
    sessions.clear()
    assert len(sessions) == 0
    with pytest.raises(RuntimeError):
        engine._use_sessions(sessions, b"late")
    for args in ((None, b"key"), (sessions, "key")):
        with pytest.raises(TypeError):
            make("openssl", client)._use_sessions(*args)


@pytest.mark.asyncio_is_worse("it neither has engines nor keeps sessions")
@pytest.mark.parametrize("kind", ENGINES)
async def test_connections_of_a_loop_resume(loop, kind):
    server = await loop.create_server(
        Echo, LOOPBACK, 0, ssl=server_context(tls_engine=kind))
    client = client_context(tls_engine=kind, session_cache=True)
    reused = []
    for _ in range(3):
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=client,
            server_hostname="localhost")
        transport.write(b"data")
        assert await protocol.received(4) == b"data"
        assert transport.get_extra_info("tls_engine") == kind
        assert transport.get_extra_info("sslcontext") is client
        known = transport.get_extra_info("ssl_object")
        reused.append(known.session_reused)
        peer = transport.get_extra_info("peercert")
        assert peer == known.getpeercert() != {}
        transport.close()
        await asyncio.wait_for(protocol.lost, PATIENCE)
    assert reused == [False, True, True]
    server.close()
    await server.wait_closed()
