# SPDX-License-Identifier: Apache-2.0
"""Which TLS engine serves a context and why, and what an engine says."""

import gc
import ssl
import sys
import weakref

import pytest

import rsloop_c
from rsloop_c import _core, _tls, _tls_openssl
from support import run_python
from tls_memory import cert, make, meet, says

has_psk = pytest.mark.skipif(not getattr(ssl, "HAS_PSK", False),
                             reason="contexts have PSK callbacks since 3.13")


@pytest.fixture(autouse=True)
def no_setting(monkeypatch):
    monkeypatch.delenv("RSLOOP_C_TLS", raising=False)


def client_context(cls=ssl.SSLContext, **options):
    context = cls(ssl.PROTOCOL_TLS_CLIENT, **options)
    context.load_verify_locations(cert("ca.pem"))
    return context


def server_context(cls=ssl.SSLContext, **options):
    context = cls(ssl.PROTOCOL_TLS_SERVER, **options)
    context.load_cert_chain(cert("ec.pem"), cert("ec.key"))
    return context


def chosen(context, server_side=False):
    """The engine's name, and the reason."""
    engine, reason = _tls.choose(
        context, server_side=server_side,
        server_hostname=None if server_side else "localhost")
    if engine is None:
        return "python", reason
    assert engine.reason == reason
    return engine.name, reason


# --- The choice ---

@pytest.mark.parametrize("cls", [ssl.SSLContext, rsloop_c.SSLContext])
@pytest.mark.parametrize("server_side", [False, True])
def test_openssl_serves_where_it_can_be_reached(cls, server_side):
    context = server_context(cls) if server_side else client_context(cls)
    assert chosen(context, server_side) == (
        "openssl", "libssl, without the GIL")


@pytest.mark.parametrize("cls, setting, name, reason", [
    (ssl.SSLContext, "openssl", "openssl", "libssl"),
    (ssl.SSLContext, "mbedtls", "openssl", "not mbedtls: the context is no "),
    (ssl.SSLContext, "python", "python", "is 'python'"),
    (rsloop_c.SSLContext, "openssl", "openssl", "libssl"),
    (rsloop_c.SSLContext, "mbedtls", "mbedtls", "mbedTLS, without the GIL"),
    (rsloop_c.SSLContext, "python", "python", "is 'python'"),
])
def test_settings(cls, setting, name, reason, monkeypatch):
    context = client_context(cls)
    monkeypatch.setenv("RSLOOP_C_TLS", setting)
    by_variable = chosen(context)
    assert by_variable[0] == name and reason in by_variable[1]
    assert f"RSLOOP_C_TLS is {setting!r}" in by_variable[1]
    # The context's own wins.
    monkeypatch.setenv("RSLOOP_C_TLS", "openssl")
    context.tls_engine = setting
    by_context = chosen(context)
    assert by_context[0] == name and reason in by_context[1]
    assert f"the context's tls_engine is {setting!r}" in by_context[1]


def test_a_setting_that_is_none(monkeypatch, flavour):
    if flavour.ours:
        done = run_python("""
            try:
                new_event_loop()
            except ValueError as exc:
                print(exc)
        """, flavour, env={"RSLOOP_C_TLS": "gnutls"})
        assert done.stdout == (
            "RSLOOP_C_TLS must be 'auto', 'mbedtls', 'openssl' or 'python', "
            "not 'gnutls'\n"), done.stderr
    monkeypatch.setenv("RSLOOP_C_TLS", "gnutls")
    with pytest.raises(ValueError, match="RSLOOP_C_TLS must be 'auto'"):
        chosen(client_context())
    context = client_context()
    context.tls_engine = "gnutls"
    with pytest.raises(ValueError, match="tls_engine must be 'auto'"):
        chosen(context)
    for wrong in ("gnutls", "", 1):
        with pytest.raises(ValueError, match="tls_engine must be 'auto'"):
            rsloop_c.SSLContext(ssl.PROTOCOL_TLS_CLIENT, tls_engine=wrong)


class OwnContext(ssl.SSLContext):
    pass


class OwnObject(ssl.SSLObject):
    pass


def test_contexts_that_only_sslproto_can_serve():
    assert chosen(client_context(OwnContext)) == (
        "python", "not openssl: OwnContext is a class of its own")
    context = client_context()
    context.sslobject_class = OwnObject
    assert "sslobject_class" in chosen(context)[1]
    context = client_context()
    context._msg_callback = print
    assert chosen(context) == (
        "python", "not openssl: the context has a message callback")
    context._msg_callback = None
    assert chosen(context)[0] == "openssl"     # it is looked at each time


@has_psk
def test_contexts_with_psk_callbacks():
    context = client_context()
    context.set_psk_client_callback(lambda hint: (None, b""))
    assert chosen(context) == (
        "python", "not openssl: the context has a PSK callback")
    context.set_psk_client_callback(None)
    assert chosen(context)[0] == "openssl"
    context = server_context()
    context.set_psk_server_callback(lambda identity: b"")
    assert chosen(context, True)[0] == "python"


def test_contexts_that_call_python_need_the_gil(tmp_path):
    def choose(context):
        return _tls.choose(context, server_side=True, server_hostname=None)

    context = server_context()
    engine, _ = choose(context)
    assert not engine.needs_gil
    context.sni_callback = lambda *_: None
    engine, reason = choose(context)
    assert engine.needs_gil and "the context calls Python" in reason
    context.sni_callback = None
    assert not choose(context)[0].needs_gil
    context.keylog_filename = str(tmp_path / "log")
    assert choose(context)[0].needs_gil


def test_a_wrap_bio_that_uses_another_context():
    context, inner = client_context(), client_context()
    context.wrap_bio = inner.wrap_bio
    assert chosen(context) == (
        "python", "not openssl: wrap_bio() uses another context")
    context.wrap_bio = lambda *args, **options: object()
    assert chosen(context)[0] == "python"


@pytest.mark.parametrize("setting", ["openssl", "mbedtls"])
def test_what_wrap_bio_refuses(setting):
    for context, server_side, name in (
            (client_context(rsloop_c.SSLContext), False, ".dot.example"),
            (client_context(rsloop_c.SSLContext), False, "zero\0byte"),
            (client_context(rsloop_c.SSLContext), False, "l" * 64 + ".example"),
            (client_context(rsloop_c.SSLContext), True, None),
            (server_context(rsloop_c.SSLContext), False, "localhost")):
        context.tls_engine = setting
        with pytest.raises(Exception) as theirs:
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(),
                             server_side=server_side, server_hostname=name)
        with pytest.raises(type(theirs.value)) as ours:
            _tls.choose(context, server_side=server_side, server_hostname=name)
        assert str(ours.value) == str(theirs.value)


# --- OpenSSL that cannot be reached ---

@pytest.fixture
def looked_at_anew():
    _tls_openssl.unreachable.cache_clear()
    yield
    _tls_openssl.unreachable.cache_clear()


def check_unreachable(reason):
    assert chosen(client_context()) == ("python", f"not openssl: {reason}")
    # What records its material is served all the same.
    context = client_context(rsloop_c.SSLContext)
    assert chosen(context) == (
        "mbedtls", f"not openssl: {reason}; mbedTLS, without the GIL")


def test_an_ssl_inside_the_interpreter(looked_at_anew, monkeypatch):
    monkeypatch.delattr("_ssl.__file__")
    check_unreachable("this Python has its OpenSSL inside: _ssl has no file")


def test_a_libssl_that_is_hidden(looked_at_anew, monkeypatch):
    monkeypatch.setattr(_core, "_tls_openssl_open", lambda *_: "SSL_read")
    check_unreachable("this Python hides its OpenSSL: no SSL_read to be found")


def test_another_libssl():
    path = sys.modules["_ssl"].__file__
    version = ssl.OPENSSL_VERSION_NUMBER
    assert _core._tls_openssl_open(path, version) is None
    assert _core._tls_openssl_open("/nonexistent.so", version) == "its file"
    # Loaded, but not the one whose functions are in use.
    assert _core._tls_openssl_open(_core.__file__, version) == (
        "the same library")


@pytest.mark.parametrize("what", ["options", "verify_mode", "num_tickets"])
def test_the_self_test_fails(what, looked_at_anew, monkeypatch):
    real = _core._tls_openssl_differs

    def differs(context, raw, options, mode, tickets):
        """As with a context that says something else than its SSL_CTX."""
        return real(context, raw, options ^ (what == "options"),
                    mode + (what == "verify_mode"),
                    tickets + (what == "num_tickets"))

    monkeypatch.setattr(_core, "_tls_openssl_differs", differs)
    check_unreachable(f"_ssl is not laid out as expected: {what}")


def test_the_self_test_sees_a_foreign_ssl():
    one, other = client_context(), client_context()
    raw = one.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(),
                       server_hostname="localhost")._sslobj

    def differs(context):
        return _core._tls_openssl_differs(
            context, raw, int(context.options), int(context.verify_mode),
            context.num_tickets)

    assert differs(one) is None
    assert differs(other) == "the SSL's context"
    assert _core._tls_openssl_engine(
        other, None, raw, None, "reason", False) is None


@has_psk
def test_psk_callbacks_that_cannot_be_seen(monkeypatch):
    monkeypatch.setattr(_tls_openssl, "_psk_offsets", lambda: (-1, -1))
    assert chosen(client_context())[0] == "python"


def test_private_functions_refuse_other_objects():
    context = client_context()
    for args in ((None,) * 5, (context, object(), 0, 0, 0),
                 (object(), context, 0, 0, 0)):
        with pytest.raises(TypeError):
            _core._tls_openssl_differs(*args)
    with pytest.raises(TypeError):
        _core._tls_openssl_engine(context, None, context, None, "", False)
    with pytest.raises(TypeError):
        _core._tls_context_word(None, None)
    assert _core._tls_context_word(context, object()) == -1
    for offset in (0, -8, 1 << 20):
        with pytest.raises(ValueError):
            _core._tls_context_word_set(context, offset)
    for cls in (_core.TLSEngine, _core.TLSConfig):
        with pytest.raises(TypeError):
            cls()


# --- An engine and what it knows ---

@pytest.mark.parametrize("server", ["cpython", "openssl", "mbedtls"])
@pytest.mark.parametrize("client", ["cpython", "openssl", "mbedtls"])
@pytest.mark.parametrize("version", [
    ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_each_talks_to_each(client, server, version):
    contexts = (client_context(rsloop_c.SSLContext),
                server_context(rsloop_c.SSLContext))
    for context in contexts:
        context.maximum_version = version
        context.set_alpn_protocols(["h2", "http/1.1"])
    ours = make(client, contexts[0])
    theirs = make(server, contexts[1], server_side=True)
    assert meet(ours, theirs) == ("open", "open")
    assert says(theirs, ours, b"from server") == b"from server"
    assert says(ours, theirs, b"c" * 40000) == b"c" * 40000
    known = [side.ssl_object if isinstance(side.ssl_object, ssl.SSLObject)
             else _tls.extra_of(side)["ssl_object"] for side in (ours, theirs)]
    names = ["version", "cipher", "selected_alpn_protocol", "compression"]
    if version == ssl.TLSVersion.TLSv1_2:      # RFC 9266: there is none in 1.3
        names.append("get_channel_binding")
    for name in names:
        assert getattr(known[0], name)() == getattr(known[1], name)(), name
    assert known[0].selected_alpn_protocol() == "h2"
    assert (known[0].server_side, known[1].server_side) == (False, True)
    assert known[0].server_hostname == "localhost"
    assert not known[0].session_reused and not known[1].session_reused


def test_facts_are_the_same_with_all_engines():
    def facts(kind):
        context = client_context(rsloop_c.SSLContext)
        client = make(kind, context)
        server = make("cpython", server_context(), server_side=True)
        assert meet(client, server) == ("open", "open")
        if kind == "cpython":
            known = client.ssl_object
        else:
            extra = _tls.extra_of(client)
            known = extra["ssl_object"]
            assert extra["sslcontext"] is context
            assert extra["tls_engine"] == kind
            assert extra["tls_engine_reason"] == client.reason
            for name in ("cipher", "compression"):
                assert extra[name] == getattr(known, name)()
            assert extra["peercert"] == known.getpeercert()
        assert known.context is context
        with pytest.raises(ValueError):
            known.get_channel_binding("tls-nonsense")
        return (known.getpeercert(), known.getpeercert(True), known.version(),
                known.cipher(), known.selected_alpn_protocol(),
                known.compression(), known.pending(), known.server_side)

    own = facts("cpython")
    assert own[0]["subject"] == ((("commonName", "localhost"),),)
    assert facts("openssl") == own
    assert facts("mbedtls") == own


@pytest.mark.parametrize("kind", ["openssl", "mbedtls"])
def test_nothing_is_left_of_an_engine(kind):
    contexts = (client_context(rsloop_c.SSLContext, session_cache=True),
                server_context(rsloop_c.SSLContext))

    def connect():
        client, server = (make(kind, contexts[0]),
                          make(kind, contexts[1], server_side=True))
        assert meet(client, server) == ("open", "open")
        assert says(server, client, b"data") == b"data"
        return client, server

    connect()
    gc.collect()
    before = [sys.getrefcount(context) for context in contexts]
    objects = []
    for _ in range(5):
        for engine in connect():
            known = _tls.extra_of(engine)["ssl_object"]
            objects.append(weakref.ref(known))
        del engine, known
    # No collection: nothing of it may be in a cycle.
    assert [ref() for ref in objects] == [None] * 10
    if not hasattr(sys, "_is_gil_enabled") or sys._is_gil_enabled():
        assert [sys.getrefcount(context) for context in contexts] == before


def test_an_engine_in_a_cycle_is_collected():
    # With an SSLObject inside it would not be, with CPython alone neither:
    # _SSLSocket does not show the collector its context.
    context = server_context(rsloop_c.SSLContext)
    context.engine = make("mbedtls", context, server_side=True)
    ref = weakref.ref(context)
    del context
    gc.collect()
    assert ref() is None


@pytest.mark.skipif(sys.version_info < (3, 13), reason="see test_subinterpreters")
def test_in_a_subinterpreter(flavour):
    done = run_python(f"""
        import _interpreters
        interpreter = _interpreters.create("isolated")
        failed = _interpreters.run_string(interpreter, '''if True:
            import sys
            sys.path[:] = {sys.path!r}
            import ssl
            from rsloop_c import _tls
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            for callback in None, print:
                context.sni_callback = callback
                engine, reason = _tls.choose(
                    context, server_side=True, server_hostname=None)
                print(engine and engine.name, reason, flush=True)
            del engine, context
        ''')
        assert failed is None, failed
        _interpreters.destroy(interpreter)
    """, flavour)
    assert done.stdout.splitlines() == [
        "openssl libssl, without the GIL",
        "None not openssl: the context calls Python, in a subinterpreter",
    ], done.stderr


WITHOUT_SSL = """
import sys
sys.modules["_ssl"] = None
import asyncio, support

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(support.Echo, support.LOOPBACK, 0)
    transport, protocol = await loop.create_connection(
        support.Recorder, *server.sockets[0].getsockname())
    transport.write(b"data")
    print(await protocol.received(4))
    try:
        await loop.start_tls(transport, protocol, None)
    except RuntimeError as exc:
        print(exc)
    transport.close()
    server.close()

loop = support.child_flavour().new_loop()
loop.run_until_complete(main())
loop.close()
"""


def test_a_python_without_ssl(flavour):
    # Before anything of asyncio is imported.
    done = run_python(f"""
        import subprocess
        sys.exit(subprocess.run([sys.executable, "-c", {WITHOUT_SSL!r}]).returncode)
    """, flavour)
    assert done.stdout == (
        "b'data'\nPython ssl module is not available\n"), done.stderr
