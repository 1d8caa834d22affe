# SPDX-License-Identifier: Apache-2.0
# The C extension, as far as others may use it: its classes stand in front of
# asyncio's, whose methods they do not list again. Loop by itself is not an
# event loop: rsloop_c.Loop is.

import asyncio
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from concurrent.futures import Executor
from contextvars import Context
from types import FunctionType
from typing import Any, TypeAlias, TypedDict, TypeVar, final

from _typeshed import StrOrBytesPath
from typing_extensions import Self, TypeVarTuple, Unpack, disjoint_base

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
_CoroutineLike: TypeAlias = Coroutine[Any, Any, _T] | Generator[Any, None, _T]
_Bytes: TypeAlias = bytes | bytearray | memoryview

__version__: str
_C_API: Any  # the capsule of rsloop_c.h

class _BuildInfo(TypedDict):
    version: str
    python: str
    compiler: str
    build_type: str
    liburing: str
    mbedtls_headers: str
    free_threaded: bool
    backends: tuple[str, ...]

def build_info() -> _BuildInfo: ...
def probe() -> dict[str, Any]: ...
def stats_total() -> dict[str, int]: ...
def _profiler_start(records: int, /) -> None: ...
def _profiler_stop() -> tuple[list[tuple[int, str, int, bytes]], list[Any]]: ...
def profiler_running() -> bool: ...
def _inotify_init() -> int: ...
def _inotify_add_watch(fd: int, path: StrOrBytesPath, mask: int, /) -> int: ...
def _inotify_rm_watch(fd: int, wd: int, /) -> None: ...
def _tls_openssl_open(path: str, version: int, /) -> str | None: ...
def _tls_openssl_differs(
    context: ssl.SSLContext,
    raw: object,
    options: int,
    verify_mode: int,
    num_tickets: int,
    /,
) -> str | None: ...
def _tls_openssl_engine(
    context: ssl.SSLContext,
    ssl_object: ssl.SSLObject,
    raw: object,
    server_hostname: str | None,
    reason: str,
    needs_gil: bool,
    /,
) -> TLSEngine | None: ...
def _tls_main_interpreter() -> bool: ...
def _tls_mbedtls_config(
    *,
    server: bool,
    check_hostname: bool,
    check_common_name: bool,
    check_crl: bool,
    verify: int,
    version_min: int,
    version_max: int,
    certificate: bytes,
    key: bytes,
    ca: bytes,
    crl: bytes,
    password: str | None,
    ciphers: bytes,
    alpn: tuple[bytes, ...],
    tickets: int,
    ticket_lifetime: int,
    keylog_fd: int,
) -> TLSConfig | str: ...
def _tls_mbedtls_engine(
    config: TLSConfig,
    context: ssl.SSLContext,
    server_hostname: str | None,
    name: str | None,
    reason: str,
    /,
) -> TLSEngine | None: ...
def _tls_mbedtls_knows(number: int, /) -> bool: ...
def _tls_context_word(context: ssl.SSLContext, value: object, /) -> int: ...
def _tls_context_word_set(context: ssl.SSLContext, offset: int, /) -> bool: ...

# A config of mbedTLS.
@final
class TLSConfig: ...

# Sessions that clients may resume.
@final
class TLSSessions:
    def __len__(self) -> int: ...
    def clear(self) -> None: ...

# What choose() of _tls.py has made, for one connection.
@final
class TLSEngine:
    @property
    def name(self) -> str: ...
    @property
    def ssl_object(self) -> Any: ...
    @property
    def context(self) -> ssl.SSLContext: ...
    @property
    def server_hostname(self) -> str | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def needs_gil(self) -> bool: ...
    @property
    def server_side(self) -> bool: ...
    def _info(self) -> dict[str, Any]: ...
    def _peer_chain(self) -> list[bytes]: ...
    def _tls_unique(self) -> bytes | None: ...
    def _use_sessions(self, sessions: TLSSessions, key: bytes, /) -> None: ...
    def _talk(
        self, received: _Bytes | None, send: _Bytes | None = b"", /
    ) -> tuple[str, bytearray, bytearray]: ...
    def _exception(self) -> Exception | None: ...

# By themselves these are no streams: rsloop_c.StreamReader and the others are.
@disjoint_base
class StreamReader:
    def __init__(
        self, limit: int = 65536, loop: asyncio.AbstractEventLoop | None = None
    ) -> None: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, bytes]: ...
    def at_eof(self) -> bool: ...
    def exception(self) -> Exception | None: ...
    def set_exception(self, exc: Exception) -> None: ...
    def feed_data(self, data: bytes | bytearray | memoryview) -> None: ...
    def feed_eof(self) -> None: ...
    def read(self, n: int = -1) -> Coroutine[Any, Any, bytes]: ...
    def readexactly(self, n: int) -> Coroutine[Any, Any, bytes]: ...
    def readline(self) -> Coroutine[Any, Any, bytes]: ...
    def readuntil(
        self, separator: _Bytes | tuple[_Bytes, ...] = b"\n"
    ) -> Coroutine[Any, Any, bytes]: ...

@disjoint_base
class StreamWriter:
    @property
    def transport(self) -> asyncio.WriteTransport: ...
    def write(self, data: _Bytes) -> None: ...
    def writelines(self, data: Iterable[_Bytes]) -> None: ...
    def is_closing(self) -> bool: ...
    def drain(self) -> Coroutine[Any, Any, None]: ...

@disjoint_base
class StreamReaderProtocol:
    def data_received(self, data: bytes) -> None: ...

@final
class Handle(asyncio.Handle):
    def cancel(self) -> None: ...

@final
class TimerHandle(asyncio.TimerHandle):
    def cancel(self) -> None: ...

@final
class StreamTransport(asyncio.Transport):
    max_size: int

@final
class SSLStreamTransport(asyncio.Transport):
    max_size: int

@final
class ReadPipeTransport(asyncio.ReadTransport):
    max_size: int

@final
class WritePipeTransport(asyncio.Transport): ...

@final
class DatagramTransport(asyncio.Transport, asyncio.DatagramTransport):
    max_size: int

# Between an executor and its workers, where queue.SimpleQueue is otherwise.
@final
class WorkQueue:
    def __new__(cls, submit: FunctionType | None, look_ns: int, /) -> Self: ...
    def put(self, item: object, /) -> None: ...
    def get_nowait(self) -> Any: ...
    def qsize(self) -> int: ...
    def empty(self) -> bool: ...
    def serve(self) -> Any: ...
    def expect_worker(self) -> bool: ...
    def worker_came(self) -> None: ...
    def set_staffed(self) -> None: ...

# What rsloop_c.Loop.watchdog is made of.
@final
class Watchdog:
    def __new__(cls, seconds: float, fd: int, /) -> Self: ...
    def wait(self) -> tuple[float, bool, bytes | None, Any] | None: ...
    def end(self) -> None: ...

# What a loop, or a server, takes on; None is no limit.
@final
class Limits:
    max_connections: int | None
    max_accept_rate: float | None
    max_pending_tls_handshakes: int | None
    idle_timeout: float | None
    read_timeout: float | None
    write_timeout: float | None
    max_write_buffer_bytes: int | None
    max_pending_read_bytes: int | None
    tls_silence_timeout: float | None
    @property
    def connections(self) -> int: ...
    @property
    def pending_tls_handshakes(self) -> int: ...
    def _wait(self, future: asyncio.Future[None], /) -> None: ...

@disjoint_base
class Loop:
    @property
    def backend(self) -> str: ...
    flight_recorder: int
    @property
    def limits(self) -> Limits: ...
    def run_forever(self) -> None: ...
    def run_until_complete(
        self, future: Generator[Any, None, _T] | Awaitable[_T]
    ) -> _T: ...
    def call_soon(
        self,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        context: Context | None = None,
    ) -> asyncio.Handle: ...
    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        context: Context | None = None,
    ) -> asyncio.Handle: ...
    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        context: Context | None = None,
    ) -> asyncio.TimerHandle: ...
    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        context: Context | None = None,
    ) -> asyncio.TimerHandle: ...
    def time(self) -> float: ...
    def create_future(self) -> asyncio.Future[Any]: ...
    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[Unpack[_Ts]], _T],
        *args: Unpack[_Ts],
    ) -> asyncio.Future[_T]: ...
    if sys.version_info >= (3, 13):
        def create_task(
            self,
            coro: _CoroutineLike[_T],
            *,
            name: object = None,
            context: Context | None = None,
            eager_start: bool | None = None,
        ) -> asyncio.Task[_T]: ...
    elif sys.version_info >= (3, 11):
        def create_task(
            self,
            coro: _CoroutineLike[_T],
            *,
            name: object = None,
            context: Context | None = None,
        ) -> asyncio.Task[_T]: ...
    else:
        def create_task(
            self, coro: _CoroutineLike[_T], *, name: object = None
        ) -> asyncio.Task[_T]: ...
    def _runtime_info(self) -> dict[str, Any]: ...
    def stats(self) -> dict[str, Any]: ...
    def _count_python_tls(self, what: str, /) -> None: ...
    def _serve_metrics(self, fd: int, /) -> int: ...
    def _stop_metrics(self, number: int, /) -> None: ...
