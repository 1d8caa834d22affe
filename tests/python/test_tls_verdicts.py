# SPDX-License-Identifier: Apache-2.0
"""TLS: which certificates are accepted. OpenSSL's verdict is the law, whatever
engine runs: the same accept or reject, the same verify_code."""

import os
import ssl

import pytest

import tls
from tls import TLS12, TLS13, by_loop, by_openssl, facts, of_any_loop

pytestmark = of_any_loop

HERE = os.path.dirname(os.path.abspath(__file__))
LEAF, CHAIN = ssl.VERIFY_CRL_CHECK_LEAF, ssl.VERIFY_CRL_CHECK_CHAIN
KEYS = {"p384", "rsa1024", "rsa2048", "ed25519"}


def path_of(name):
    return os.path.join(HERE, "tls_certs", name)


class Case:
    """A chain that a server shows, a client that judges it, and the verdict:
    an X509_V_ERR_*, 0 when it is accepted."""

    def __init__(self, chain, verdict=0, hostname="localhost", ca=("root",),
                 crl=(), flags=0, level=None, **attributes):
        self.chain, self.verdict, self.hostname = chain, verdict, hostname
        self.ca, self.crl, self.flags = ca, crl, flags
        self.level, self.attributes = level, attributes

    def server_context(self, version):
        context = tls.new_context(ssl.PROTOCOL_TLS_SERVER)
        # A server may show what its own rules would refuse. Others keep the
        # level that mbedTLS serves.
        if self.level is not None:
            context.set_ciphers("DEFAULT@SECLEVEL=0")
        key = self.chain if self.chain in KEYS else "key"
        context.load_cert_chain(path_of(f"{self.chain}.pem"),
                                path_of(f"{key}.key"))
        return tls.with_attributes(context, {"version": version})

    def client_context(self):
        context = tls.new_context(ssl.PROTOCOL_TLS_CLIENT)
        if self.level is not None:
            context.set_ciphers(f"DEFAULT@SECLEVEL={self.level}")
        for name in (*self.ca, *self.crl):
            context.load_verify_locations(path_of(f"{name}.pem"))
        context.verify_flags |= self.flags
        return tls.with_attributes(context, dict(self.attributes))


IP, NAME = 64, 62
PARTIAL = ssl.VERIFY_X509_PARTIAL_CHAIN if hasattr(
    ssl, "VERIFY_X509_PARTIAL_CHAIN") else 0x80000
STRICT = ssl.VERIFY_X509_STRICT
NO_COMMON = dict(hostname_checks_common_name=False)
UNTRUSTED = dict(check_hostname=False, verify_mode=ssl.CERT_NONE)

CASES = {
    "good": Case("good"),
    "good for both purposes": Case("good-both"),
    "good without purpose": Case("good-no-eku"),
    "good by the root itself": Case("direct"),
    "good with the root sent along": Case("with-root"),
    "good in the wrong order": Case("unordered"),
    "good strictly": Case("good", flags=STRICT),
    "good P-384": Case("p384"),
    "good RSA": Case("rsa2048"),
    "good Ed25519": Case("ed25519"),
    "name among many": Case("good-many"),
    "another name among many": Case("good-many", hostname="one.example"),
    "name in capitals": Case("good", hostname="LOCALHOST"),
    "name with a dot at its end": Case("good", NAME, hostname="localhost."),
    "no name but the common name": Case("nameless"),
    "common name that does not count": Case("nameless", NAME, **NO_COMMON),
    "common name beside names": Case("other-name", NAME),
    "an address of mail": Case("email", NAME, **NO_COMMON),
    "wrong name": Case("other-name", NAME),
    "wrong name of many": Case("good-many", NAME, hostname="two.example"),
    "unchecked name": Case("other-name", check_hostname=False),
    "IPv4": Case("ip4", hostname="127.0.0.1"),
    "wrong IPv4": Case("ip4", IP, hostname="127.0.0.2"),
    "IPv4 by common name": Case("ip4"),
    "IPv4 by name": Case("ip4", NAME, **NO_COMMON),
    "IPv6": Case("ip6", hostname="::1"),
    "IPv6 at length": Case("ip6", hostname="0:0:0:0:0:0:0:1"),
    "wrong IPv6": Case("ip6", IP, hostname="::2"),
    "IPv4 as a name": Case("ip-as-name", IP, hostname="127.0.0.1"),
    "wildcard": Case("wild", hostname="a.wild.example"),
    "wildcard of its own domain": Case("wild", NAME, hostname="wild.example"),
    "wildcard two labels deep": Case("wild", NAME, hostname="a.b.wild.example"),
    "wildcard within a label": Case("wild-part", NAME,
                                    hostname="foo.wild.example"),
    "wildcard of everything": Case("wild-all", NAME),
    "internationalized name": Case("idn", hostname="bücher.example"),
    "internationalized name in ASCII": Case("idn",
                                            hostname="xn--bcher-kva.example"),
    "expired": Case("expired", 10),
    "not yet valid": Case("future", 9),
    "intermediate expired": Case("expired-inter", 10),
    "intermediate not yet valid": Case("future-inter", 9),
    "self-signed": Case("self-signed", 18),
    "self-signed and trusted": Case("self-signed", ca=["self-signed"]),
    "unknown root": Case("untrusted-root", 20),
    "no root at all": Case("good", 20, ca=()),
    "root sent along but unknown": Case("with-root", 19, ca=()),
    "intermediate missing": Case("no-inter", 20),
    "intermediate known": Case("no-inter", ca=["root", "inter"]),
    "only the intermediate known": Case("good", 2, ca=["inter"]),
    "only the intermediate known, which will do": Case(
        "good", ca=["inter"], flags=PARTIAL),
    "a client's purpose": Case("wrong-eku", 26, hostname="localhost",
                               check_hostname=False),
    "a signer's purpose": Case("other-eku", 26),
    "use without signatures": Case("other-use", 26),
    "unknown critical extension": Case("critical", 34),
    "issuer is no CA": Case("by-not-ca", 79),
    "issuer may not sign": Case("by-cannot-sign", 79),
    "path too long": Case("too-deep-leaf", 25),
    "name outside the issuer's names": Case("by-named", 47),
    "wrong signature": Case("badly-signed", 7),
    "RSA of 1024 bits": Case("rsa1024", 66, level=2),
    "RSA of 1024 bits where that will do": Case("rsa1024", level=0),
    "SHA-1": Case("sha1", 68, level=2),
    "SHA-1 where that will do": Case("sha1", level=0),
    "revoked": Case("revoked", 23, crl=["crl"], flags=LEAF),
    "revoked, checked to the root": Case("revoked", 23, crl=["crl"],
                                         flags=CHAIN),
    "revoked, but nobody asks": Case("revoked", crl=["crl"]),
    "not revoked": Case("good", crl=["crl"], flags=LEAF),
    "not revoked, checked to the root": Case("good", crl=["crl"],
                                             flags=CHAIN),
    "CRL missing": Case("good", 3, flags=LEAF),
    "CRL of the root missing": Case("good", 3, crl=["crl-inter"],
                                    flags=CHAIN),
    "CRL expired": Case("good", 12, crl=["crl-expired"], flags=LEAF),
    "nobody verifies": Case("expired", **UNTRUSTED),
    "nobody verifies the self-signed": Case("self-signed", **UNTRUSTED),
}


# Which of these mbedTLS refuses, always: with its own code, or for no reason
# that OpenSSL would have.
REFUSED_BY_MBEDTLS = {
    "good Ed25519",                  # it has none
    "IPv4 by common name",           # there is a name: the address
    "unknown critical extension", "name outside the issuer's names",
    "issuer is no CA", "issuer may not sign", "path too long",
    "wrong signature",
}


def both_versions(name):
    """The verdict has nothing to do with the version; some do for both."""
    return (TLS12, TLS13) if name in ("good", "expired", "wrong name") else (
        TLS13,)


def same_words(found, expected, engine, name=None):
    if engine == "mbedtls" and name in REFUSED_BY_MBEDTLS:
        return isinstance(found, ssl.SSLError)
    if engine == "mbedtls" and expected is not None:
        # The verdict is OpenSSL's; for the rest see test_tls_handshake.
        return facts(found)[2:6] == facts(expected)[2:6]
    return facts(found) == facts(expected)


@pytest.mark.parametrize("version, name", [
    pytest.param(version, name, id=f"{version.name[-3:]} {name}")
    for name in CASES for version in both_versions(name)])
async def test_clients_verdict_is_openssls(loop, version, name, tls_engine):
    case = CASES[name]

    def contexts():
        return case.server_context(version), case.client_context()

    expected, _ = by_openssl(*contexts(), case.hostname)
    assert verdict_of(expected) == case.verdict, "the certificate is another"
    found, server = await by_loop("client", *contexts(), case.hostname)
    assert same_words(found, expected, tls_engine, name)
    if found is None:
        assert server is None


def verdict_of(outcome):
    if outcome is None:
        return 0
    assert isinstance(outcome, ssl.SSLCertVerificationError), outcome
    return outcome.verify_code


# --- clients' certificates ---

CLIENTS = {                      # chain or None, verify_mode: the verdict
    ("good-client", ssl.CERT_REQUIRED): 0,
    ("good-both", ssl.CERT_REQUIRED): 0,
    ("good-client", ssl.CERT_OPTIONAL): 0,
    (None, ssl.CERT_OPTIONAL): 0,
    (None, ssl.CERT_NONE): 0,
    ("client-expired", ssl.CERT_NONE): 0,
    (None, ssl.CERT_REQUIRED): "PEER_DID_NOT_RETURN_A_CERTIFICATE",
    ("client-expired", ssl.CERT_REQUIRED): 10,
    ("client-expired", ssl.CERT_OPTIONAL): 10,
    ("good", ssl.CERT_REQUIRED): 26,
    ("untrusted-root", ssl.CERT_OPTIONAL): 20,
    ("self-signed", ssl.CERT_REQUIRED): 18,
    ("client-revoked", ssl.CERT_REQUIRED): 23,
}


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("chain, mode", CLIENTS, ids=lambda value: str(
    getattr(value, "name", value)))
async def test_servers_verdict_is_openssls(
        loop, chain, mode, version, tls_engine):
    verdict = CLIENTS[chain, mode]

    def contexts():
        server = Case("good").server_context(version)
        server.load_verify_locations(path_of("root.pem"))
        server.verify_mode = mode
        if chain == "client-revoked":
            server.load_verify_locations(path_of("crl.pem"))
            server.verify_flags |= LEAF
        client = Case("good").client_context()
        if chain:
            client.load_cert_chain(path_of(f"{chain}.pem"),
                                   path_of("key.key"))
        return server, client

    _, expected = by_openssl(*contexts())
    client, found = await by_loop("server", *contexts())
    if isinstance(verdict, str):
        assert expected.reason == verdict
        assert type(found) is type(expected)
        assert found.reason == verdict or tls_engine == "mbedtls"
    else:
        assert verdict_of(expected) == verdict
        assert same_words(found, expected, tls_engine)
    if expected is None:
        assert client is None


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
async def test_client_learns_that_it_was_refused(loop, version, tls_engine):
    """By an alert: in TLS 1.3 after its own handshake."""
    def contexts():
        server = Case("good").server_context(version)
        server.load_verify_locations(path_of("root.pem"))
        server.verify_mode = ssl.CERT_REQUIRED
        return server, Case("good").client_context()

    expected, _ = by_openssl(*contexts())
    found, _ = await by_loop("client", *contexts())
    assert type(found) is type(expected) is ssl.SSLError
    assert found.reason == expected.reason
