# SPDX-License-Identifier: Apache-2.0
from asyncio import StreamReader, StreamWriter, WriteTransport
from asyncio.subprocess import Process
from collections.abc import Iterable
from typing import Any, Literal, overload

from _typeshed import StrOrBytesPath

class TextStreamReader:
    def __init__(
        self, reader: StreamReader, encoding: str, errors: str, limit: int = 65536
    ) -> None: ...
    def at_eof(self) -> bool: ...
    async def read(self, n: int = -1) -> str: ...
    async def readline(self) -> str: ...
    def __aiter__(self) -> TextStreamReader: ...
    async def __anext__(self) -> str: ...

class TextStreamWriter:
    def __init__(self, writer: StreamWriter, encoding: str, errors: str) -> None: ...
    @property
    def transport(self) -> WriteTransport: ...
    def write(self, text: str) -> None: ...
    def writelines(self, lines: Iterable[str]) -> None: ...
    async def drain(self) -> None: ...
    def can_write_eof(self) -> bool: ...
    def write_eof(self) -> None: ...
    def close(self) -> None: ...
    def is_closing(self) -> bool: ...
    async def wait_closed(self) -> None: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...

class TextProcess(Process):
    stdin: TextStreamWriter | None  # type: ignore[assignment]
    stdout: TextStreamReader | None  # type: ignore[assignment]
    stderr: TextStreamReader | None  # type: ignore[assignment]
    def __init__(
        self, process: Process, encoding: str, errors: str, limit: int
    ) -> None: ...
    async def communicate(  # type: ignore[override]
        self, input: str | None = None
    ) -> tuple[str | None, str | None]: ...

@overload
async def create_subprocess_exec(
    program: StrOrBytesPath,
    *args: StrOrBytesPath,
    limit: int = 65536,
    encoding: None = None,
    errors: None = None,
    text: Literal[False] | None = None,
    universal_newlines: Literal[False] | None = None,
    **kwds: Any,
) -> Process: ...
@overload
async def create_subprocess_exec(
    program: StrOrBytesPath,
    *args: StrOrBytesPath,
    limit: int = 65536,
    encoding: str,
    errors: str | None = None,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    **kwds: Any,
) -> TextProcess: ...
@overload
async def create_subprocess_exec(
    program: StrOrBytesPath,
    *args: StrOrBytesPath,
    limit: int = 65536,
    encoding: str | None = None,
    errors: str,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    **kwds: Any,
) -> TextProcess: ...
@overload
async def create_subprocess_exec(
    program: StrOrBytesPath,
    *args: StrOrBytesPath,
    limit: int = 65536,
    encoding: str | None = None,
    errors: str | None = None,
    text: Literal[True],
    universal_newlines: bool | None = None,
    **kwds: Any,
) -> TextProcess: ...
@overload
async def create_subprocess_exec(
    program: StrOrBytesPath,
    *args: StrOrBytesPath,
    limit: int = 65536,
    encoding: str | None = None,
    errors: str | None = None,
    text: bool | None = None,
    universal_newlines: Literal[True],
    **kwds: Any,
) -> TextProcess: ...
@overload
async def create_subprocess_shell(
    cmd: str | bytes,
    *,
    limit: int = 65536,
    encoding: None = None,
    errors: None = None,
    text: Literal[False] | None = None,
    universal_newlines: Literal[False] | None = None,
    **kwds: Any,
) -> Process: ...
@overload
async def create_subprocess_shell(
    cmd: str | bytes,
    *,
    limit: int = 65536,
    encoding: str,
    errors: str | None = None,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    **kwds: Any,
) -> TextProcess: ...
@overload
async def create_subprocess_shell(
    cmd: str | bytes,
    *,
    limit: int = 65536,
    encoding: str | None = None,
    errors: str,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    **kwds: Any,
) -> TextProcess: ...
@overload
async def create_subprocess_shell(
    cmd: str | bytes,
    *,
    limit: int = 65536,
    encoding: str | None = None,
    errors: str | None = None,
    text: Literal[True],
    universal_newlines: bool | None = None,
    **kwds: Any,
) -> TextProcess: ...
@overload
async def create_subprocess_shell(
    cmd: str | bytes,
    *,
    limit: int = 65536,
    encoding: str | None = None,
    errors: str | None = None,
    text: bool | None = None,
    universal_newlines: Literal[True],
    **kwds: Any,
) -> TextProcess: ...
