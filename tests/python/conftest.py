# SPDX-License-Identifier: Apache-2.0
"""Every behaviour test runs on asyncio, the oracle, and on rsloop_c with each
backend. A guard around each test fails it for what it leaves behind."""

import asyncio
import faulthandler
import gc
import inspect
import logging
import os
import signal
import subprocess
import sys
import sysconfig
import time
import warnings

import pytest

import support

KILL_SECONDS = 20        # after a hang's report, then the whole run is ended
# An ended thread stays in /proc for a moment. A name that is being looked up has
# a socket of libc's until its servers have answered, or have not twice in 5 s.
LEAK_PATIENCE = 25.0
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def pytest_addoption(parser):
    parser.addoption(
        "--loops", default="asyncio,epoll,io_uring",
        help="comma-separated flavours of loop, or 'all': "
             + ", ".join(support.FLAVOURS)
             + " (the +takeover ones run the stream tests only)")
    parser.addoption(
        "--hang-seconds", type=float, default=20,
        help="a test that runs longer hangs: its stacks are dumped, it fails")
    parser.addoption(
        "--tls", default=",".join(support.TLS_ENGINES),
        help="comma-separated TLS engines for the tests of TLS")
    try:
        parser.addini("timeout", "of pytest-timeout; here without effect")
    except ValueError:
        pass             # pytest-timeout is there


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's background job inherits that, and would so to children.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # pytest redirects stderr while a test runs; the watchdog needs the real one.
    config.watchdog_file = os.fdopen(os.dup(2), "w")
    config.addinivalue_line("filterwarnings", "error")
    # From CPython 3.14 on Hypothesis says so of its own generator, which a
    # thread-local object keeps where the collector does not look.
    config.addinivalue_line("filterwarnings", "ignore:It looks like `register_random`")
    config.addinivalue_line(
        "markers", "stream: runs with the runtime thread's takeover as well")
    config.addinivalue_line(
        "markers", "tls(backend): runs with each TLS engine, on all kinds of "
        "loop or, where that makes no difference, on one")
    config.addinivalue_line(
        "markers", "asyncio_is_worse(why): rsloop_c only, asyncio differs")
    config.addinivalue_line(
        "markers", "untidy: asyncio's own code leaves things to the collector")
    config.addinivalue_line(
        "markers", "slow(seconds): may run this long before it is a hang")
    chosen = config.getoption("--loops")
    names = support.FLAVOURS if chosen == "all" else chosen.split(",")
    unknown = set(names) - set(support.FLAVOURS)
    if unknown:
        raise pytest.UsageError(f"--loops: no such flavour: {unknown}")
    config.flavours = [support.Flavour(name) for name in names]
    engines = config.getoption("--tls").split(",")
    if set(engines) - set(support.TLS_ENGINES):
        raise pytest.UsageError(f"--tls: of {support.TLS_ENGINES}")
    config.tls_flavours = [
        support.Flavour(flavour.name, engine)
        for flavour in config.flavours
        for engine in (engines if flavour.ours else [None])]
    if len(engines) > 1:
        # What an engine does with bytes is the same however they move.
        config.tls_flavours = [
            flavour for flavour in config.tls_flavours
            if flavour.tls in (None, "openssl") or flavour.name == "epoll"]
    config.no_ring = support.kernel_refuses_io_uring()
    if any(flavour.ours for flavour in config.flavours):
        try:
            import rsloop_c  # noqa: F401
        except ImportError as exc:
            raise pytest.UsageError(
                f"rsloop_c cannot be imported ({exc}); install it, or use "
                "--loops asyncio")


def pytest_collection_finish(session):
    # From here on asyncio makes no loop of its own behind a test's back.
    asyncio.set_event_loop(None)
    # Every loop kind is made once, so that what a process keeps for good is
    # not taken for the leak of the first test.
    for flavour in session.config.flavours:
        loop = flavour.new_loop()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    gc.collect()
    gc.freeze()          # the guard's collections then see only new objects


# --- flavours ----------------------------------------------------------------

def pytest_generate_tests(metafunc):
    if "flavour" not in metafunc.fixturenames:
        return
    params = []
    about_tls = metafunc.definition.get_closest_marker("tls")
    for flavour in (metafunc.config.tls_flavours if about_tls
                    else metafunc.config.flavours):
        marks = []
        if flavour.backend == "io_uring" and metafunc.config.no_ring:
            marks.append(pytest.mark.skip(
                reason=f"io_uring_setup: {metafunc.config.no_ring}"))
        params.append(pytest.param(flavour, id=flavour.id, marks=marks))
    metafunc.parametrize("flavour", params)


def pytest_collection_modifyitems(config, items):
    wanted = [item for item in items if _is_wanted(item)]
    chosen = set(wanted)
    config.hook.pytest_deselected(
        items=[item for item in items if item not in chosen])
    items[:] = wanted


def _is_wanted(item):
    callspec = getattr(item, "callspec", None)
    flavour = callspec and callspec.params.get("flavour")
    if flavour is None:
        return True
    about_tls = item.get_closest_marker("tls")
    if about_tls and flavour.ours and about_tls.args not in (
            (), (flavour.name,)):
        return False
    if flavour.takeover:
        return item.get_closest_marker("stream") is not None
    if not flavour.ours:
        return item.get_closest_marker("asyncio_is_worse") is None
    return True


@pytest.fixture(autouse=True)
def tls_engine(request):
    """The engine that a test's connections are to ask for."""
    callspec = getattr(request.node, "callspec", None)
    flavour = callspec and callspec.params.get("flavour")
    if not flavour or not flavour.tls:
        yield None
        return
    with support.environ(RSLOOP_C_TLS=flavour.tls):
        yield flavour.tls


@pytest.fixture
def loop_factory(flavour):
    """Makes loops of the flavour; those still open are closed afterwards."""
    made = []

    def make():
        loop = flavour.new_loop()
        made.append(loop)
        return loop

    yield make
    for loop in made:
        if not loop.is_closed():
            _finish(loop)


@pytest.fixture
def loop(loop_factory):
    return loop_factory()


def _finish(loop):
    """What asyncio.Runner does at its end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True)
                            if tasks else asyncio.sleep(0))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


class Hung(KeyboardInterrupt):
    """Of the kind that callbacks and tasks let through."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item):
    try:
        return (yield)
    except Hung as exc:
        pytest.fail(str(exc))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """A test that is a coroutine function runs on the loop fixture."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    pyfuncitem.funcargs["loop"].run_until_complete(
        pyfuncitem.obj(**arguments))
    return True


# --- guards ------------------------------------------------------------------

@pytest.fixture(autouse=True)
def watchdog(request):
    slow = request.node.get_closest_marker("slow")
    seconds = support.slowness() * max(
        request.config.getoption("--hang-seconds"),
        slow.args[0] if slow else 0)
    file = request.config.watchdog_file

    def hung(signum, frame):
        file.write(f"\n{request.node.nodeid} hangs\n")
        file.flush()
        faulthandler.dump_traceback(file, all_threads=True)
        raise Hung(f"hung for {seconds:.0f} s (stacks are on stderr)")

    before = signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    # A loop that never runs signal handlers is ended with the process.
    faulthandler.dump_traceback_later(seconds + KILL_SECONDS, exit=True,
                                      file=file)
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def leak_guard(request, watchdog):
    """fds and threads are as many after a test as before, and no finalizer
    raised or warned."""
    unraisable = []

    def note(args):
        if (sys.version_info < (3, 11)
                and "unclosed transport <asyncio.sslproto" in
                str(args.exc_value)):
            return       # 3.10 warns unless both sides called close()
        what = args.err_msg or "Exception ignored in"
        unraisable.append(f"{what} {args.object!r}: {args.exc_value!r}")

    hook, sys.unraisablehook = sys.unraisablehook, note
    fds, threads = support.open_fds(), support.native_threads()
    lent = _lookup_sockets(fds)
    try:
        yield            # to asyncio_errors, which collects
        if not FREE_THREADED:
            # What pytest keeps of each test would make the next ones' slower.
            # There a collection walks the frozen objects too.
            gc.freeze()
        # Waiting for these is not the test's: a hang would not say what it was.
        signal.setitimer(signal.ITIMER_REAL, 2 * LEAK_PATIENCE)
        faulthandler.cancel_dump_traceback_later()
        deadline = time.monotonic() + LEAK_PATIENCE
        while (_leaks(fds, threads, lent) and time.monotonic() < deadline):
            time.sleep(0.002)
        leaked = _leaks(fds, threads, lent)
    finally:
        sys.unraisablehook = hook
    if not request.node.get_closest_marker("untidy"):
        assert not unraisable, "\n".join(unraisable)
    assert not leaked, f"left behind: {leaked}"


def _lookup_sockets(fds):
    """Those of `fds` that may be libc's for a name that an earlier test has
    asked for: they go when they like."""
    if not support.looks_up_names():
        return ()
    return [fd for fd, what in fds.items() if what and what.startswith("socket:")]


def _leaks(fds, threads, lent):
    now_fds, now_threads = support.open_fds(), support.native_threads()
    fds = {fd: what for fd, what in fds.items()
           if fd not in lent or now_fds.get(fd) == what}
    leaks = []
    if len(now_fds) != len(fds):
        leaks += [f"fd {fd}: {what}" for fd, what in now_fds.items()
                  if fds.get(fd) != what]
        leaks += [f"fd {fd} gone: {what}" for fd, what in fds.items()
                  if fd not in now_fds]
    if len(now_threads) > len(threads):
        leaks += [f"thread {name}" for tid, name in now_threads.items()
                  if tid not in threads]
    return leaks


class _Records(logging.Handler):
    def __init__(self):
        super().__init__(logging.ERROR)
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture(autouse=True)
def asyncio_errors(leak_guard):
    """Errors that asyncio logged. A test that expects some takes this fixture
    and clears it; any left at the end fail the test."""
    handler = _Records()
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    try:
        yield handler.records
        # "exception was never retrieved" comes from __del__.
        again = gc.collect() > 0
        left = [record.getMessage() for record in handler.records]
        # A record's traceback would keep the test's objects alive past here.
        again = again or handler.records != []
        handler.records.clear()
        if again:        # what finalizers and records left
            gc.collect()
    finally:
        logger.removeHandler(handler)
    assert not left, f"logged: {left}"


# --- pipes ---

@pytest.fixture
def pipe():
    """Both ends of a pipe as unbuffered files: reader, writer."""
    reader, writer = os.pipe()
    files = open(reader, "rb", 0), open(writer, "wb", 0)
    yield files
    for file in files:
        file.close()


# --- native code ---

@pytest.fixture(scope="session")
def probe_folder(tmp_path_factory):
    """Where native_probe is, which native.py builds."""
    import native
    folder = tmp_path_factory.mktemp("native_probe")
    native.compile_probe(folder)
    return folder


@pytest.fixture(scope="session")
def probe(probe_folder):
    import native
    return native.load(probe_folder, "native_probe")


# --- sockets -----------------------------------------------------------------

@pytest.fixture
def pair():
    """Two connected sockets that do not block."""
    left, right = support.tcp_socket_pair()
    yield left, right
    left.close()
    right.close()


# --- certificates ------------------------------------------------------------

@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate for localhost: (certificate file, key file)."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec",
         "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", key, "-out", cert,
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cert, key


@pytest.fixture
def server_context(certificate):
    import ssl

    import tls
    context = tls.new_context(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def client_context(certificate, tls_engine):
    import ssl

    import tls
    if tls_engine != "mbedtls":
        return ssl.create_default_context(cafile=certificate[0])
    context = tls.new_context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificate[0])
    return context


@pytest.fixture
def no_deprecation():
    """asyncio deprecates policies from 3.12 on; they must work until 3.16."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
