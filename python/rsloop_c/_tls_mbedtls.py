# SPDX-License-Identifier: Apache-2.0
"""The `mbedtls` engine, for rsloop_c.SSLContext: what the context has been
given, as a config of mbedTLS; or why mbedTLS would not do as OpenSSL does."""

from __future__ import annotations

import array
import functools
import os
import re
import ssl
from typing import Any

from . import _core, _tls_openssl
from ._der import is_self_issued
from ._tls_context import Material, SSLContext, read_again
from ._tls_openssl import Unfit

_TLS_1_2, _TLS_1_3 = 0x0303, 0x0304
_TICKET_LIFETIME_S = 7200  # OpenSSL's
_HASHED = re.compile(rb"[0-9a-f]{8}\.(r?)[0-9]+")
_SECURITY_LEVEL = 2  # what mbedTLS's own rules for keys and digests come to

_CRL_CHECK_CHAIN = ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
_PARTIAL_CHAIN = 0x80000  # ssl.VERIFY_X509_PARTIAL_CHAIN since 3.10

# Options that mbedTLS has anyway or that do not concern it.
_HARMLESS = (
    ssl.OP_ALL
    | ssl.OP_NO_SSLv2
    | ssl.OP_NO_SSLv3
    | ssl.OP_NO_TLSv1
    | ssl.OP_NO_TLSv1_1
    | ssl.OP_NO_TLSv1_2
    | ssl.OP_NO_TLSv1_3
    | ssl.OP_NO_COMPRESSION
    | ssl.OP_NO_RENEGOTIATION
    | ssl.OP_CIPHER_SERVER_PREFERENCE
    | ssl.OP_SINGLE_DH_USE
    | ssl.OP_SINGLE_ECDH_USE
    | ssl.OP_NO_TICKET
    | getattr(ssl, "OP_ENABLE_MIDDLEBOX_COMPAT", 0)
    | getattr(ssl, "OP_ENABLE_KTLS", 0)
    # OP_IGNORE_UNEXPECTED_EOF, which CPython 3.10 and 3.11 set themselves before
    # they had a name for it: a stream's end without close_notify is an end here.
    | 0x80
)


def engine(
    context: ssl.SSLContext,
    *,
    server_side: bool,
    server_hostname: str | None,
    reasons: list[str],
) -> _core.TLSEngine:
    """An engine of mbedTLS for context. Raises Unfit, or as wrap_bio()."""
    if not hasattr(_core, "_tls_mbedtls_config"):
        raise Unfit("this build has no mbedTLS")
    if type(context) is not SSLContext:
        raise Unfit("the context is no rsloop_c.SSLContext")
    # It says what wrong arguments are, and which name is asked for.
    ssl_object = context.wrap_bio(
        ssl.MemoryBIO(),
        ssl.MemoryBIO(),
        server_side=server_side,
        server_hostname=server_hostname,
    )
    config = _config(context, server_side)
    reason = "; ".join([*reasons, "mbedTLS, without the GIL"])
    made = _core._tls_mbedtls_engine(
        config, context, server_hostname, ssl_object.server_hostname, reason
    )
    if made is None:
        raise Unfit("no name to check, or one that is too long")
    return made


def _config(context: Any, server_side: bool) -> _core.TLSConfig:
    """The config for what the context says now, made once."""
    key = fingerprint(context)
    known = context._mbedtls_configs
    entry = known.get(server_side)
    if entry is None or entry[0] != key:
        try:
            made: Any = _make(context, server_side)
        except Unfit as unfit:
            made = str(unfit)
        entry = known[server_side] = (key, made)
    if isinstance(entry[1], str):
        raise Unfit(entry[1])
    config: _core.TLSConfig = entry[1]
    return config


def fingerprint(context: Any) -> tuple[Any, ...]:
    """What changes when the context does."""
    material: Material = context._material
    return (
        material.version,
        material.odd,
        int(context.options),
        int(context.verify_mode),
        int(context.verify_flags),
        int(context.minimum_version),
        int(context.maximum_version),
        context.check_hostname,
        context.hostname_checks_common_name,
        context.num_tickets,
        context.post_handshake_auth,
        context.keylog_filename,
        context.sni_callback is not None,
        tuple(map(_changed_at, material.folders)),
    )


def _changed_at(folder: bytes) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def _make(context: Any, server_side: bool) -> _core.TLSConfig:
    material: Material = context._material
    _check(context, material, server_side)
    certificates, crls = _trusted(context, material)
    certificate, key, password = _own(material, certificates)
    low, high = _versions(context)
    log = context.keylog_filename
    check_crl = bool(context.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF)
    if not check_crl:
        crls = []  # mbedTLS would look at them
    made = _core._tls_mbedtls_config(
        server=server_side,
        check_hostname=context.check_hostname,
        check_common_name=context.hostname_checks_common_name,
        check_crl=check_crl,
        verify=int(context.verify_mode),
        version_min=low,
        version_max=high,
        certificate=certificate,
        key=key,
        ca=_pem(map(ssl.DER_cert_to_PEM_cert, sorted(certificates))),
        crl=_pem(text.decode("ascii") for text in crls),
        password=password,
        ciphers=_ciphers(context),
        alpn=tuple(material.alpn),
        tickets=_tickets(context),
        ticket_lifetime=_TICKET_LIFETIME_S,
        keylog_fd=-1 if log is None else os.open(log, os.O_WRONLY | os.O_APPEND),
    )
    if isinstance(made, str):
        raise Unfit(made)
    return made


def _check(context: Any, material: Material, server_side: bool) -> None:
    """Refuse what mbedTLS has not. Raises Unfit."""
    if material.odd is not None:
        raise Unfit(f"the context has {material.odd}")
    if context.sni_callback is not None:
        raise Unfit("the context has an SNI callback")
    callback = _tls_openssl.callback_of(context)
    if callback is not None:
        raise Unfit(f"the context has a {callback}")
    if context.sslobject_class is not ssl.SSLObject:
        raise Unfit("the context has an sslobject_class of its own")
    if context.post_handshake_auth:
        raise Unfit("the context wants authentication after the handshake")
    if context.security_level != _SECURITY_LEVEL:
        raise Unfit(f"OpenSSL's security level {context.security_level}")
    options = int(context.options)
    if options & ~int(_HARMLESS):
        raise Unfit(f"options {options & ~int(_HARMLESS):#x}")
    if server_side and not options & ssl.OP_CIPHER_SERVER_PREFERENCE:
        raise Unfit("the client's order of ciphers is to decide")
    if not server_side and options & ssl.OP_NO_TICKET:
        raise Unfit("clients are to take no tickets")
    known = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_CRL_CHECK_LEAF | _PARTIAL_CHAIN
    if int(context.verify_flags) & ~int(known):
        raise Unfit(f"verify_flags {context.verify_flags!r}")


def _tickets(context: Any) -> int:
    # A resumed session would not tell the client's certificate.
    if context.options & ssl.OP_NO_TICKET or context.verify_mode != ssl.CERT_NONE:
        return 0
    return int(context.num_tickets)


def _versions(context: Any) -> tuple[int, int]:
    low, high = context.minimum_version, context.maximum_version
    if low < _TLS_1_2:  # MINIMUM_SUPPORTED is less than any
        # At this security level OpenSSL 3 speaks none of them.
        if ssl.OPENSSL_VERSION_INFO < (3,):
            raise Unfit("versions before TLS 1.2 are allowed")
        low = _TLS_1_2
    high = _TLS_1_3 if high == ssl.TLSVersion.MAXIMUM_SUPPORTED else high
    if context.options & ssl.OP_NO_TLSv1_2:
        low = max(low, _TLS_1_3)
    if context.options & ssl.OP_NO_TLSv1_3:
        high = min(high, _TLS_1_2)
    if high < low:
        raise Unfit("no version that mbedTLS has is allowed")
    return int(low), int(high)


@functools.cache
def _default_suites() -> frozenset[int]:
    context = _tls_openssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return frozenset(suite["id"] for suite in context.get_ciphers())


def _ciphers(context: Any) -> bytes:
    """The IANA numbers of the context's suites by preference. What mbedTLS
    lacks of the usual ones is no loss, of chosen ones it is."""
    suites = [suite["id"] for suite in context.get_ciphers()]
    known = [n & 0xFFFF for n in suites if _core._tls_mbedtls_knows(n & 0xFFFF)]
    if len(known) < len(suites) and _default_suites() != set(suites):
        raise Unfit("the context has ciphers that mbedTLS does not have")
    if not known:
        raise Unfit("mbedTLS has none of the context's ciphers")
    return array.array("H", [*known, 0]).tobytes()


def _trusted(context: Any, material: Material) -> tuple[set[bytes], list[bytes]]:
    """The trusted certificates and the CRLs, all of them. Raises Unfit."""
    found = Material()
    found.certificates |= material.certificates
    found.crls += material.crls
    for folder in material.folders:
        _add_folder(found, folder)
    stats = context.cert_store_stats()
    # Of a folder OpenSSL reads what it comes to need.
    for count, least, most in (
        (stats["x509"], len(material.certificates), len(found.certificates)),
        (stats["crl"], len(set(material.crls)), len(set(found.crls))),
    ):
        if not least <= count <= most:
            raise Unfit("the context trusts what it was not seen to be given")
    if found.odd is not None:
        raise Unfit(f"the context has {found.odd}")
    if context.verify_mode != ssl.CERT_NONE and not (
        int(context.verify_flags) & _PARTIAL_CHAIN
    ):
        # mbedTLS takes each of them for the end of a chain.
        for der in found.certificates:
            if not is_self_issued(der):
                raise Unfit("a trusted certificate is not the end of a chain")
    return found.certificates, found.crls


def _add_folder(found: Material, folder: bytes) -> None:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return  # as OpenSSL
    for name in names:
        if _HASHED.fullmatch(name):
            found.add_trusted(read_again(os.path.join(folder, name)) or b"")


def _own(material: Material, trusted: set[bytes]) -> tuple[bytes, bytes, str | None]:
    """The chain, its key and the key's password."""
    if not material.chains:
        return b"", b"", None
    if len(material.chains) > 1:
        raise Unfit("the context has more than one certificate of its own")
    chain, key, password = material.chains[0]
    # OpenSSL completes a lone certificate with what is trusted.
    if chain.count(b"-----BEGIN CERTIFICATE-----") == 1 and not all(
        map(is_self_issued, trusted)
    ):
        raise Unfit("the context's chain has to be found among trusted ones")
    if password is not None and not isinstance(password, str):
        try:
            password = bytes(password).decode("utf-8")
        except UnicodeDecodeError:
            raise Unfit("a password that is no text") from None
    if password is not None and "\0" in password:
        raise Unfit("a password with a zero in it")
    return chain + b"\0", key + b"\0", password


def _pem(texts: Any) -> bytes:
    data = "".join(texts).encode("ascii")
    return data and data + b"\0"
