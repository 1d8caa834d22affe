# SPDX-License-Identifier: Apache-2.0
"""TLS with programs of others, both roles: OpenSSL's s_client and s_server,
curl, GnuTLS."""

import asyncio
import hashlib
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import time

import pytest

import support
from support import LOOPBACK, PATIENCE, Accepting, Echo, Recorder, slowness
from tls import (
    TLS12,
    TLS13,
    each_version,
    engine_of,
    of_any_loop,
    path_of,
    serving,
    trusting,
)

pytestmark = of_any_loop

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


# --- OpenSSL ---

def option_of(version):
    return "-tls1_2" if version == TLS12 else "-tls1_3"


def s_client(port, *options):
    return Program("openssl", "s_client", "-connect", f"{LOOPBACK}:{port}",
                   "-servername", "localhost", "-verify_hostname", "localhost",
                   "-CAfile", path_of("ca.pem"), "-verify_return_error",
                   *options)


@needs("openssl")
@each_version
async def test_s_client(loop, version):
    async with serve(serving()) as server:
        async with s_client(server.port, option_of(version)) as program:
            program.say(b"a line\n")
            output = await program.says(b"Verify return code: 0 (ok)")
            protocol, = await server.accepting.count(1)
            assert await protocol.received(7) == b"a line\n"
            await program.says(b"a line\n")
            assert await program.ends() == 0
            assert await asyncio.wait_for(protocol.lost, SECONDS) is None
            assert b"New, TLSv" in output


@needs("openssl")
async def test_s_client_of_another_host_is_told_the_truth(loop):
    async with serve(serving()) as server:
        async with s_client(server.port, "-verify_hostname",
                            "another.name") as program:
            assert await program.ends() != 0
            assert b"ostname mismatch" in program.output
            assert server.made == []


@needs("openssl")
@each_version
async def test_s_client_with_a_certificate(loop, version):
    context = serving(verify_mode=ssl.CERT_REQUIRED)
    context.load_verify_locations(path_of("ca.pem"))
    async with serve(context) as server:
        async with s_client(server.port, option_of(version), "-cert",
                            path_of("client.pem"), "-cert_chain",
                            path_of("client.pem"), "-key",
                            path_of("ec.key")) as program:
            program.say(b"a line\n")
            protocol, = await server.accepting.count(1)
            assert await protocol.received(7) == b"a line\n"
            assert protocol.transport.get_extra_info("peercert")[
                "subject"] == ((("commonName", "client"),),)


@needs("openssl")
@each_version
async def test_s_client_comes_again_with_its_session(loop, version, tmp_path):
    async with serve(serving()) as server:
        file = str(tmp_path / "session")
        for number, option in enumerate(("-sess_out", "-sess_in")):
            async with s_client(server.port, option_of(version), option,
                                file) as program:
                program.say(b"a line\n")
                protocol = (await server.accepting.count(number + 1))[number]
                await protocol.received(7)
                await program.says(
                    b"a line\n", b"Reused, TLS" if number else b"New, TLS")
                assert await program.ends() == 0
                await asyncio.wait_for(protocol.lost, SECONDS)


@needs("openssl")
@pytest.mark.parametrize("letter", [b"k", b"K"], ids=["one", "both"])
async def test_s_client_updates_its_keys(loop, letter):
    """mbedTLS cannot (its issue 10881): it ends such a connection."""
    async with serve(serving(version=TLS13)) as server:
        async with s_client(server.port) as program:
            program.say(b"before\n")
            await program.says(b"Verify return code: 0 (ok)")
            protocol, = await server.accepting.count(1)
            await protocol.received(7)
            engine = engine_of(protocol)
            program.say(letter + b"\n")
            await program.says(b"KEYUPDATE")
            if engine == "mbedtls":
                await asyncio.wait_for(protocol.lost, SECONDS)
                return
            program.say(b"after\n")
            assert await protocol.received(13) == b"before\nafter\n"
            await program.says(b"after\n")


@needs("openssl")
async def test_s_client_may_not_renegotiate(loop):
    """OpenSSL 3 refuses that to clients, and so does mbedTLS; nobody is
    harmed by the attempt."""
    async with serve(serving(version=TLS12)) as server:
        async with s_client(server.port) as program:
            program.say(b"before\n")
            await program.says(b"Verify return code: 0 (ok)")
            protocol, = await server.accepting.count(1)
            await protocol.received(7)
            program.say(b"R\n")
            await program.says(b"RENEGOTIATING")
            await program.ends()
            await asyncio.wait_for(protocol.lost, SECONDS)
            assert protocol.data == b"before\n"


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


@needs("openssl")
@each_version
async def test_s_server(loop, version):
    async with s_server("-rev", option_of(version)) as program:
        client = await connect(await program.port(), trusting())
        client.transport.write(b"abc\n")
        assert await client.received(4) == b"cba\n"
        client.transport.write(b"x" * 8000 + b"y\n")
        assert (await client.received(8006))[4:] == b"y" + b"x" * 8000 + b"\n"
        await leave(client)


@needs("openssl")
@each_version
async def test_s_server_with_an_rsa_key(loop, version):
    """In TLS 1.2 its signature is one that clients of TLS 1.3 have offered."""
    async with s_server("-rev", option_of(version), "-cert",
                        path_of("rsa.pem"), "-cert_chain", path_of("rsa.pem"),
                        "-key", path_of("rsa.key")) as program:
        try:
            client = await connect(await program.port(), trusting())
        except ssl.SSLError:
            if version == TLS13 or os.environ.get("RSLOOP_C_TLS") != "mbedtls":
                raise
            pytest.skip("mbedTLS 3.6.6 has a fault here: its issue 10668")
        client.transport.write(b"abc\n")
        assert await client.received(4) == b"cba\n"
        await leave(client)


@needs("openssl")
async def test_s_server_wants_another_group(loop):
    """A HelloRetryRequest: the client's first share is of another one."""
    async with s_server("-rev", "-tls1_3", "-groups", "P-384") as program:
        client = await connect(await program.port(), trusting())
        client.transport.write(b"abc\n")
        assert await client.received(4) == b"cba\n"
        await leave(client)


@needs("openssl")
@each_version
async def test_s_server_wants_a_certificate(loop, version):
    context = trusting()
    context.load_cert_chain(path_of("client.pem"), path_of("ec.key"))
    async with s_server("-rev", option_of(version), "-Verify", "3",
                        "-verify_return_error", "-CAfile",
                        path_of("ca.pem")) as program:
        client = await connect(await program.port(), context)
        client.transport.write(b"abc\n")
        assert await client.received(4) == b"cba\n"
        await leave(client)


@needs("openssl")
@each_version
async def test_s_server_sends_a_file(loop, version, tmp_path):
    data = os.urandom(1_000_000)
    (tmp_path / "file").write_bytes(data)
    async with s_server("-WWW", option_of(version), cwd=tmp_path) as program:
        client = await connect(await program.port(), trusting())
        client.transport.write(b"GET /file HTTP/1.0\r\n\r\n")
        await asyncio.wait_for(asyncio.shield(client.lost), SECONDS)
        head, _, body = bytes(client.data).partition(b"\r\n\r\n")
        assert b"200 ok" in head
        assert hashlib.sha256(body).digest() == hashlib.sha256(data).digest()


# --- curl ---

class Http(Recorder):
    """Answers a GET with a megabyte, and a PUT with its digest."""

    body = bytes(range(256)) * 4096

    def data_received(self, data):
        super().data_received(data)
        head, found, rest = bytes(self.data).partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if not found or length and len(rest) < int(length.group(1)):
            return
        answer = hashlib.sha256(rest).hexdigest().encode() if length else (
            self.body)
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: "
            + str(len(answer)).encode() + b"\r\n\r\n")
        self.transport.write(answer)
        self.transport.close()


async def curl(port, version, *options):
    limits = (["--tls-max", "1.2"] if version == TLS12
              else ["--tlsv1.3"])
    async with Program(
            "curl", "--silent", "--show-error", "--http1.1", "--noproxy", "*",
            "--cacert", path_of("ca.pem"), *limits, "--resolve",
            f"localhost:{port}:{LOOPBACK}", *options,
            f"https://localhost:{port}/") as program:
        status = await program.ends()
        return status, program.output


@needs("curl")
@each_version
async def test_curl_gets(loop, version):
    async with serve(serving(), Http) as server:
        assert await curl(server.port, version) == (0, Http.body)


@needs("curl")
@each_version
async def test_curl_puts(loop, version, tmp_path):
    data = os.urandom(1_000_000)
    (tmp_path / "file").write_bytes(data)
    async with serve(serving(), Http) as server:
        assert await curl(server.port, version, "--upload-file",
                          str(tmp_path / "file"), "--header", "Expect:") == (
            0, hashlib.sha256(data).hexdigest().encode())


@needs("curl")
@pytest.mark.parametrize("chain", ["expired", "self", "nameless"])
async def test_curl_refuses_bad_certificates(loop, chain):
    CANNOT_VERIFY = 60
    async with serve(serving(chain), Http) as server:
        status, output = await curl(server.port, TLS13)
        # Without a name curl takes the common one.
        assert status == (0 if chain == "nameless" and output == Http.body
                          else CANNOT_VERIFY)


# --- GnuTLS ---

def priority_of(version):
    number = "1.2" if version == TLS12 else "1.3"
    return f"--priority=NORMAL:-VERS-ALL:+VERS-TLS{number}"


def gnutls_cli(port, *options):
    return Program(
        "gnutls-cli", "--port", str(port), "--x509cafile", path_of("ca.pem"),
        "--sni-hostname", "localhost", "--verify-hostname", "localhost",
        *options, LOOPBACK)


@needs("gnutls-cli")
@each_version
async def test_gnutls_cli(loop, version):
    async with serve(serving()) as server:
        async with gnutls_cli(server.port, priority_of(version)) as program:
            await program.says(b"Handshake was completed")
            assert b"The certificate is trusted" in program.output
            program.say(b"a line\n")
            protocol, = await server.accepting.count(1)
            assert await protocol.received(7) == b"a line\n"
            await program.says(b"a line\n")
            assert await program.ends() == 0
            assert await asyncio.wait_for(protocol.lost, SECONDS) is None


@needs("gnutls-cli")
@each_version
async def test_gnutls_cli_resumes(loop, version):
    async with serve(serving()) as server:
        async with gnutls_cli(server.port, priority_of(version), "--resume",
                              "--waitresumption") as program:
            # It ends the first connection by itself and comes again.
            output = await program.says(b"This is a resumed session")
            assert output.count(b"Handshake was completed") >= 1


@needs("gnutls-cli")
async def test_gnutls_cli_rekeys(loop):
    async with serve(serving(version=TLS13)) as server:
        async with gnutls_cli(server.port, "--inline-commands") as program:
            await program.says(b"Handshake was completed")
            protocol, = await server.accepting.count(1)
            if engine_of(protocol) == "mbedtls":
                pytest.skip("mbedTLS 10881: see docs/tls.md")
            program.say(b"^rekey^\n")
            program.say(b"after\n")
            assert await protocol.received(6) == b"after\n"
            await program.says(b"after\n")


def free_port():
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        return sock.getsockname()[1]


async def gnutls_serv(*options):
    """It cannot choose a port by itself, so that somebody may be first."""
    for _ in range(5):
        port = free_port()
        program = Program(
            "gnutls-serv", "--echo", "--port", str(port), "--x509certfile",
            path_of("ec.pem"), "--x509keyfile", path_of("ec.key"), *options)
        try:
            await program.says(b"Echo Server listening on IPv4", b"done")
            return program, port
        except AssertionError:
            await program.__aexit__()
    raise AssertionError("no port for gnutls-serv")


@needs("gnutls-serv")
@each_version
async def test_gnutls_serv(loop, version):
    program, port = await gnutls_serv(priority_of(version))
    async with program:
        client = await connect(port, trusting())
        said = b""
        for size in (1, 100, 1000):
            line = b"x" * size + b"\n"
            said += line
            client.transport.write(line)
            assert await client.received(len(said)) == said
        await leave(client)


@needs("gnutls-serv")
@each_version
async def test_gnutls_serv_wants_a_certificate(loop, version):
    context = trusting()
    context.load_cert_chain(path_of("client.pem"), path_of("ec.key"))
    program, port = await gnutls_serv(
        priority_of(version), "--require-client-cert", "--verify-client-cert",
        "--x509cafile", path_of("ca.pem"))
    async with program:
        client = await connect(port, context)
        client.transport.write(b"line\n")
        assert await client.received(5) == b"line\n"
        await leave(client)
