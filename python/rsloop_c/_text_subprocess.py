# SPDX-License-Identifier: Apache-2.0
"""Subprocesses whose standard streams carry str, as subprocess.Popen's do.

asyncio refuses `text`, `encoding`, `errors` and `universal_newlines`. These
functions take them, with Popen's meaning; the process is asyncio's own. They
work on every loop.
"""

from __future__ import annotations

import asyncio
import codecs
import io
import locale
import subprocess

_LIMIT = 2**16  # as asyncio.streams._DEFAULT_LIMIT
_CHUNK = 2**16


class TextStreamReader:
    """The str side of an asyncio.StreamReader; newlines become "\\n"."""

    def __init__(self, reader, encoding, errors, limit=_LIMIT):
        self._reader = reader
        self._limit = limit
        decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        self._text = ""
        self._start = 0  # of what nobody has read
        self._eof = False

    async def _fill(self):
        """Wait for more text; at the end `_eof` becomes true. What a cancelled
        wait would have given is there for the next one."""
        data = await self._reader.read(_CHUNK)
        self._eof = not data
        more = self._decoder.decode(data, final=self._eof)
        self._text = self._text[self._start :] + more
        self._start = 0

    def _finish(self, data):
        """All text, given what the bytes' reader still had."""
        self._eof = True
        return self._take(None) + self._decoder.decode(data, final=True)

    def _take(self, count):
        """`count` characters, all for None."""
        start = self._start
        end = len(self._text) if count is None else start + count
        taken = self._text[start:end]
        if end < len(self._text):
            self._start = end
        else:
            self._text, self._start = "", 0
        return taken

    def at_eof(self):
        """Return True when everything has been read."""
        return not self._text and (self._eof or self._reader.at_eof())

    async def read(self, n=-1):
        """Return up to n characters, "" at the end; all of them for n < 0.

        Raises UnicodeDecodeError for bytes that are not of the encoding.
        """
        if n == 0:
            return ""
        if n < 0:
            return await self._read_all()
        while not self._text and not self._eof:
            await self._fill()
        return self._take(n)

    async def _read_all(self):
        parts = [self._take(None)]
        try:
            while not self._eof:
                await self._fill()
                parts.append(self._take(None))
        except BaseException:
            self._text = "".join(parts)
            raise
        return "".join(parts)

    async def readline(self):
        """Return a line with its "\\n", what is left at the end, then "".

        Raises ValueError for a line longer than the limit, in characters; it is
        dropped, as asyncio.StreamReader.readline() does. Raises
        UnicodeDecodeError for bytes that are not of the encoding.
        """
        searched = 0
        while (
            end := self._text.find("\n", self._start + searched)
        ) < 0 and not self._eof:
            searched = len(self._text) - self._start
            if searched > self._limit:
                self._take(None)
                raise ValueError("Separator is not found, and chunk exceed the limit")
            await self._fill()
        if end < 0:
            return self._take(None)
        length = end - self._start
        line = self._take(length + 1)
        if length > self._limit:
            raise ValueError("Separator is found, but chunk is longer than limit")
        return line

    def __aiter__(self):
        return self

    async def __anext__(self):
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line


class TextStreamWriter:
    """The str side of an asyncio.StreamWriter."""

    def __init__(self, writer, encoding, errors):
        self._writer = writer
        self._encoder = codecs.getincrementalencoder(encoding)(errors)

    @property
    def transport(self):
        return self._writer.transport

    def write(self, text):
        """Encode and write. Raises TypeError for what is not a str, and
        UnicodeEncodeError for what the encoding has no bytes for."""
        self._writer.write(self._encode(text))

    def _encode(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        return self._encoder.encode(text)

    def writelines(self, lines):
        """Write each str of an iterable; nothing is put between them."""
        for line in lines:
            self.write(line)

    async def drain(self):
        """Wait until it is reasonable to write more; as asyncio.StreamWriter's."""
        await self._writer.drain()

    def can_write_eof(self):
        return self._writer.can_write_eof()

    def write_eof(self):
        self._writer.write_eof()

    def close(self):
        self._writer.close()

    def is_closing(self):
        return self._writer.is_closing()

    async def wait_closed(self):
        await self._writer.wait_closed()

    def get_extra_info(self, name, default=None):
        return self._writer.get_extra_info(name, default)


def _text_mode(encoding, errors, text, universal_newlines):
    """(encoding, errors), or None for bytes; Popen's rules."""
    if (
        text is not None
        and universal_newlines is not None
        and bool(universal_newlines) != bool(text)
    ):
        raise subprocess.SubprocessError(
            "Cannot disambiguate when both text and universal_newlines are "
            "supplied but different. Pass one or the other."
        )
    if not (encoding or errors or text or universal_newlines):
        return None
    encoding = encoding or locale.getpreferredencoding(False)
    errors = errors or "strict"
    # Before there is a child: LookupError, as Popen raises.
    codecs.lookup(encoding)
    codecs.lookup_error(errors)
    return encoding, errors


class TextProcess(asyncio.subprocess.Process):
    """A process with TextStreamReader and TextStreamWriter for its streams, whose
    communicate() takes and returns str."""

    def __init__(self, process, encoding, errors, limit):
        super().__init__(process._transport, process._protocol, process._loop)
        self._binary = process
        if self.stdin is not None:
            self.stdin = TextStreamWriter(self.stdin, encoding, errors)
        if self.stdout is not None:
            self.stdout = TextStreamReader(self.stdout, encoding, errors, limit)
        if self.stderr is not None:
            self.stderr = TextStreamReader(self.stderr, encoding, errors, limit)

    async def communicate(self, input=None):
        """asyncio's, with str. An `input` that cannot be encoded is refused before
        anything is sent; output that is no text raises UnicodeDecodeError when
        the process has closed its streams."""
        if input is not None and self.stdin is not None:
            input = self.stdin._encode(input)
        out, err = await self._binary.communicate(input)
        return (
            None if self.stdout is None else self.stdout._finish(out),
            None if self.stderr is None else self.stderr._finish(err),
        )


async def create_subprocess_exec(
    program,
    *args,
    limit=_LIMIT,
    encoding=None,
    errors=None,
    text=None,
    universal_newlines=None,
    **kwds,
):
    """asyncio.create_subprocess_exec() that also takes `encoding`, `errors`,
    `text` and `universal_newlines`, as subprocess.Popen does.

    With any of these the result is a TextProcess. `limit` is then in characters
    as well as in bytes. Raises LookupError for an unknown
    encoding and subprocess.SubprocessError when `text` and `universal_newlines`
    contradict each other.
    """
    mode = _text_mode(encoding, errors, text, universal_newlines)
    process = await asyncio.create_subprocess_exec(program, *args, limit=limit, **kwds)
    return process if mode is None else TextProcess(process, *mode, limit)


async def create_subprocess_shell(
    cmd,
    *,
    limit=_LIMIT,
    encoding=None,
    errors=None,
    text=None,
    universal_newlines=None,
    **kwds,
):
    """asyncio.create_subprocess_shell() with the arguments that
    create_subprocess_exec() adds."""
    mode = _text_mode(encoding, errors, text, universal_newlines)
    process = await asyncio.create_subprocess_shell(cmd, limit=limit, **kwds)
    return process if mode is None else TextProcess(process, *mode, limit)
