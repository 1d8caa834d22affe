# SPDX-License-Identifier: Apache-2.0
"""Other programs that speak TLS, as peers of the tests."""

import asyncio
import os
import re
import select
import shutil
import subprocess
import time

import pytest

import support
from support import LOOPBACK, PATIENCE, Accepting, Echo, Recorder, slowness
from tls import TLS12, path_of

# Programs start slowly on a busy machine.
SECONDS = 2 * PATIENCE


def needs(program):
    return pytest.mark.skipif(
        shutil.which(program) is None,
        reason=f"no {program}: scripts/test installs it")


class Program:
    """A process whose output is waited for, off the loop's thread."""

    def __init__(self, *command, **options):
        self.output = b""
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, bufsize=0, env=support.plain_environ(),
            **options)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        self.child.kill()
        await self.off_the_loop(self.child.wait)
        self.child.stdin.close()
        self.child.stdout.close()

    def off_the_loop(self, function, *arguments):
        return asyncio.get_running_loop().run_in_executor(
            None, function, *arguments)

    async def says(self, *texts):
        """Wait until all of texts are in the output; returns it whole."""
        return await self.off_the_loop(self.read_until, texts)

    def read_until(self, texts):
        deadline = time.monotonic() + SECONDS * slowness()
        while not all(text in self.output for text in texts):
            ready, _, _ = select.select([self.child.stdout], [], [], 1)
            piece = os.read(self.child.stdout.fileno(), 65536) if ready else b""
            self.output += piece
            if ready and not piece or time.monotonic() > deadline:
                raise AssertionError(
                    f"no {texts} in: {self.output.decode(errors='replace')}")
        return self.output

    async def ends(self):
        """Its exit status, after the end of its input, by which clients
        take their leave, and all of its output."""
        def wait():
            out, _ = self.child.communicate(timeout=SECONDS * slowness())
            self.output += out
            return self.child.returncode
        return await self.off_the_loop(wait)

    def say(self, text):
        self.child.stdin.write(text)


class serve:
    """A TLS server of the running loop; gives its port."""

    def __init__(self, context, protocol=Echo):
        self.context, self.accepting = context, Accepting(protocol)

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        # Debug mode tells of handshakes that fail.
        loop.set_exception_handler(lambda loop, context: None)
        self.server = await loop.create_server(
            self.accepting, LOOPBACK, 0, ssl=self.context)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    @property
    def made(self):
        return [protocol for protocol in self.accepting.made
                if protocol.transport]

    async def __aexit__(self, *exc):
        for protocol in self.made:
            if not protocol.lost.done():
                protocol.transport.abort()
            await asyncio.wait_for(protocol.lost, PATIENCE)
        self.server.close()
        await self.server.wait_closed()


async def connect(port, context):
    loop = asyncio.get_running_loop()
    _, client = await asyncio.wait_for(loop.create_connection(
        Recorder, LOOPBACK, port, ssl=context, server_hostname="localhost"),
        SECONDS)
    return client


async def leave(client):
    client.transport.close()
    try:
        await asyncio.wait_for(asyncio.shield(client.lost), PATIENCE)
    finally:
        client.transport.abort()


def option_of(version):
    return "-tls1_2" if version == TLS12 else "-tls1_3"


def s_client(port, *options):
    return Program("openssl", "s_client", "-connect", f"{LOOPBACK}:{port}",
                   "-servername", "localhost", "-verify_hostname", "localhost",
                   "-CAfile", path_of("ca.pem"), "-verify_return_error",
                   *options)


class s_server(Program):
    """With -rev it answers each line reversed."""

    def __init__(self, *arguments, **options):
        super().__init__(
            "openssl", "s_server", "-accept", f"{LOOPBACK}:0", "-cert",
            path_of("ec.pem"), "-cert_chain", path_of("ec.pem"), "-key",
            path_of("ec.key"), *arguments, **options)

    async def port(self):
        output = await self.says(b"ACCEPT ", b"\n")
        while not (found := re.search(rb"ACCEPT \S+:(\d+)\s", output)):
            output = await self.says(output + b"\n")
        return int(found.group(1))


def priority_of(version):
    number = "1.2" if version == TLS12 else "1.3"
    return f"--priority=NORMAL:-VERS-ALL:+VERS-TLS{number}"


def gnutls_cli(port, *options):
    return Program(
        "gnutls-cli", "--port", str(port), "--x509cafile", path_of("ca.pem"),
        "--sni-hostname", "localhost", "--verify-hostname", "localhost",
        *options, LOOPBACK)
