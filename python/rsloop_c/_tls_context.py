# SPDX-License-Identifier: Apache-2.0
"""rsloop_c.SSLContext: ssl.SSLContext that remembers what it was given."""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from . import _core, _der, _tls_openssl

if TYPE_CHECKING:
    from typing_extensions import Buffer

_Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_Secret = str | bytes | bytearray
_Password = Callable[[], _Secret] | _Secret | None

ENGINES = ("auto", "mbedtls", "openssl", "python")

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n.*?-----END \1-----", re.S)
_CERTIFICATES = (b"CERTIFICATE", b"X509 CERTIFICATE")


class Material:
    """What a context holds and does not tell again."""

    def __init__(self) -> None:
        self.version = 0  # of all that may change a verdict on the peer
        self.chains: list[tuple[bytes, bytes, _Secret | None]] = []
        self.certificates: set[bytes] = set()  # trusted, as DER
        self.crls: list[bytes] = []  # as PEM
        self.folders: list[bytes] = []  # of trusted ones, by hash
        self.alpn: list[bytes] = []
        self.odd: str | None = None  # what mbedTLS cannot have

    def add_trusted(self, data: bytes) -> None:
        """Certificates and CRLs in PEM."""
        for block in _PEM.finditer(data):
            kind, text = block.group(1), block.group(0)
            if kind in _CERTIFICATES:
                pem = text.replace(b"X509 CERT", b"CERT").decode("ascii")
                self.certificates.add(ssl.PEM_cert_to_DER_cert(pem))
            elif kind == b"X509 CRL":
                self.crls.append(text + b"\n")
            elif kind == b"TRUSTED CERTIFICATE":
                self.odd = "a trusted certificate with rules of OpenSSL's own"


def read_again(path: _Path) -> bytes | None:
    """What OpenSSL has read from path; None where it cannot be read twice."""
    try:
        with open(path, "rb", opener=_open_regular) as file:
            return file.read()
    except OSError:
        return None


def _open_regular(path: Any, flags: int) -> int:
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(f"{path!r} is no file")
    return os.open(path, flags)


class SSLContext(_tls_openssl.SSLContext):
    """An ssl.SSLContext that can be served without the interpreter's OpenSSL.

    It behaves as its base class, everywhere, and remembers besides what it was
    given, so that mbedTLS can serve it where that is wanted or all there is.

    tls_engine is "auto", "mbedtls", "openssl" or "python"; None means what the
    environment variable RSLOOP_C_TLS says. With session_cache=True clients keep
    the tickets that servers give them and resume sessions with them.
    """

    _material: Material
    _tls_engine: str | None = None
    _sessions: _core.TLSSessions | None = None
    # By server_side: a fingerprint, and a TLSConfig or why there is none.
    _mbedtls_configs: dict[bool, tuple[Any, Any]]

    def __new__(
        cls,
        protocol: int | None = None,
        *args: Any,
        tls_engine: str | None = None,
        session_cache: bool = False,
        **kwargs: Any,
    ) -> SSLContext:
        self = super().__new__(cls, protocol, *args, **kwargs)
        self._material = Material()
        self._mbedtls_configs = {}
        self.tls_engine = tls_engine
        self.session_cache = session_cache
        return self

    @property
    def tls_engine(self) -> str | None:
        """Which TLS engine is to serve connections of this context."""
        return self._tls_engine

    @tls_engine.setter
    def tls_engine(self, name: str | None) -> None:
        if name is not None and name not in ENGINES:
            raise ValueError(
                "tls_engine must be 'auto', 'mbedtls', 'openssl' or 'python', "
                f"not {name!r}"
            )
        self._tls_engine = name

    @property
    def session_cache(self) -> bool:
        """Whether clients keep sessions and resume them."""
        return self._sessions is not None

    @session_cache.setter
    def session_cache(self, wanted: bool) -> None:
        if bool(wanted) != self.session_cache:
            self._sessions = _core.TLSSessions() if wanted else None

    def load_cert_chain(
        self,
        certfile: _Path,
        keyfile: _Path | None = None,
        password: _Password = None,
    ) -> None:
        secret: list[_Secret] = []
        asked = password
        if callable(password):
            ask = password

            def remember() -> _Secret:
                secret[:] = [ask()]
                return secret[0]

            asked = remember
        elif password is not None:
            secret.append(password)
        super().load_cert_chain(certfile, keyfile, asked)
        material = self._material
        material.version += 1
        chain = read_again(certfile)
        key = chain if keyfile is None else read_again(keyfile)
        if chain is None or key is None:
            material.odd = "a certificate or key that is in no plain file"
            return
        material.chains.append((chain, key, secret[0] if secret else None))

    def load_verify_locations(
        self,
        cafile: _Path | None = None,
        capath: _Path | None = None,
        cadata: str | Buffer | None = None,
    ) -> None:
        super().load_verify_locations(cafile, capath, cadata)
        material = self._material
        material.version += 1
        if cafile is not None:
            data = read_again(cafile)
            if data is None:
                material.odd = "trusted certificates that are in no plain file"
            else:
                material.add_trusted(data)
        if capath is not None:
            material.folders.append(os.fsencode(capath))
        if isinstance(cadata, str):
            material.add_trusted(cadata.encode("ascii"))
        elif cadata is not None:
            material.certificates.update(_der.split(bytes(cadata)))

    def set_default_verify_paths(self) -> None:
        super().set_default_verify_paths()
        self._material.version += 1
        # What OpenSSL looks at, of which either may be missing.
        env_file, own_file, env_path, own_path = _default_paths()
        data = read_again(os.environ.get(env_file, own_file))
        if data is not None:
            self._material.add_trusted(data)
        folders = os.environ.get(env_path, own_path)
        self._material.folders += map(os.fsencode, folders.split(":"))

    def set_ciphers(self, cipherlist: str, /) -> None:
        super().set_ciphers(cipherlist)
        self._material.version += 1

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        protocols = list(alpn_protocols)
        super().set_alpn_protocols(protocols)
        self._material.version += 1
        self._material.alpn = [bytes(name, "ascii") for name in protocols]

    def load_dh_params(self, path: Any, /) -> None:
        super().load_dh_params(path)
        self._material.odd = "Diffie-Hellman parameters of its own"

    def set_ecdh_curve(self, name: Any, /) -> None:
        super().set_ecdh_curve(name)
        self._material.odd = "a curve of its own"


def _default_paths() -> tuple[str, str, str, str]:
    paths = ssl.get_default_verify_paths()
    return (
        paths.openssl_cafile_env,
        paths.openssl_cafile,
        paths.openssl_capath_env,
        paths.openssl_capath,
    )


_tls_openssl.served_types.add(SSLContext)
