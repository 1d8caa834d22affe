# SPDX-License-Identifier: Apache-2.0
"""getaddrinfo() and getnameinfo() of the loop against the socket module's, by
generated arguments: the same value, or an exception of the same type with the
same arguments. Nothing here asks a name server."""

import asyncio
import contextlib
import enum
import gc
import socket
import sys
import threading
import weakref

import pytest

import support

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

properties = hypothesis.settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)


class Port(enum.IntEnum):
    HTTP = 80


class Text(str):
    pass


def outcome(function, *args, **kwargs):
    try:
        return "returned", function(*args, **kwargs)
    except Exception as exc:
        return type(exc), exc.args


def loop_outcome(loop, method, *args, **kwargs):
    return outcome(lambda: loop.run_until_complete(method(*args, **kwargs)))


def types_of(found):
    """The types inside a result of getaddrinfo(): 2 == AF_INET hides them."""
    kind, value = found
    if kind != "returned":
        return None
    return [[type(field) for field in one] for one in value]


# --- arguments ---------------------------------------------------------------

addresses = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded),
    st.ip_addresses(v=4).map("::ffff:{}".format),
    st.builds(
        "{}%{}".format,
        st.ip_addresses(v=6),
        st.sampled_from(["lo", "1", "0", "none", "4294967295", ""]),
    ),
    st.sampled_from(
        [
            "0",
            "1.2.3",
            "0x7f.1",
            "010.1.1.1",
            "256.1.1.1",
            "1.2.3.4.5",
            "::",
            "::1%lo",
            "[::1]",
            " 127.0.0.1",
            "127.0.0.1 ",
            "\u0661.1.1.1",
            "\uff11\uff12\uff17.0.0.1",
            "1\u30022\u30023\u30024",
            "fe80::1%lo",
            "127.0.0.1%lo",
            "*",
            "",
            "255.255.255.255",
            "<broadcast>",
            "127.0.0.1\0x",
            "a\0b",
        ]
    ),
)
names = st.one_of(
    addresses,
    st.text(max_size=12),
    st.text("abc.-é", max_size=90),
    addresses.map(Text),
    addresses.map(str.encode),
    st.binary(max_size=8),
    st.sampled_from(
        [
            "\udc80",
            "xn--",
            "a" * 64,
            "." * 3,
            "ß.x",
            None,
            3,
            1.5,
            bytearray(b"::1"),
            memoryview(b"::1"),
            ["::1"],
            True,
        ]
    ),
)
ports = st.one_of(
    st.integers(0, 65535),
    st.integers(),
    st.integers(0, 70000).map(str),
    st.integers(0, 65535).map(lambda port: str(port).encode()),
    st.sampled_from(
        [
            None,
            "http",
            "https",
            "",
            "no-such-service",
            "80\0x",
            b"80\0x",
            "\udc80",
            " 80",
            "\u0668\u0660",
            "+80",
            "-1",
            True,
            Port.HTTP,
            80.0,
            bytearray(b"80"),
            [80],
        ]
    ),
)
families = st.sampled_from(
    [0, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, -1, 9999, 1 << 40, "2", None]
)
kinds = st.sampled_from(
    [0, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, 77, None]
)
protocols = st.sampled_from([0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, 255, -1, "6"])
other_flags = st.sampled_from(
    [
        0,
        socket.AI_PASSIVE,
        socket.AI_CANONNAME,
        socket.AI_V4MAPPED,
        socket.AI_NUMERICSERV,
        socket.AI_ALL | socket.AI_V4MAPPED,
        1 << 29,
        1 << 30,
        socket.AI_PASSIVE | socket.AI_CANONNAME,
    ]
)


def is_local(host):
    """Can a look-up without AI_NUMERICHOST be made without a name server?"""
    if host is None or host == "localhost":
        return True
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return False
    except Exception:
        return True
    return True


# --- properties --------------------------------------------------------------


@properties
@hypothesis.given(
    host=names,
    port=ports,
    family=families,
    kind=kinds,
    proto=protocols,
    flags=other_flags,
)
def test_numeric_host_is_resolved_as_by_socket(
    loop, host, port, family, kind, proto, flags
):
    flags |= socket.AI_NUMERICHOST
    expected = outcome(socket.getaddrinfo, host, port, family, kind, proto, flags)
    found = loop_outcome(
        loop,
        loop.getaddrinfo,
        host,
        port,
        family=family,
        type=kind,
        proto=proto,
        flags=flags,
    )
    assert found == expected
    assert types_of(found) == types_of(expected)


@properties
@hypothesis.given(
    host=st.one_of(names.filter(is_local), st.just("localhost")),
    port=ports,
    kind=kinds,
    flags=other_flags,
)
def test_local_host_is_resolved_as_by_socket(loop, host, port, kind, flags):
    expected = outcome(socket.getaddrinfo, host, port, 0, kind, 0, flags)
    found = loop_outcome(loop, loop.getaddrinfo, host, port, type=kind, flags=flags)
    assert found == expected
    assert types_of(found) == types_of(expected)


@pytest.mark.parametrize("flags", ["0", 1.5, None, 1 << 31, -1, 1 << 80])
def test_bad_flags_are_refused_as_by_socket(loop, flags):
    expected = outcome(socket.getaddrinfo, "localhost", 80, flags=flags)
    found = loop_outcome(loop, loop.getaddrinfo, "localhost", 80, flags=flags)
    assert found == expected
    expected = outcome(socket.getnameinfo, ("127.0.0.1", 80), flags)
    found = loop_outcome(loop, loop.getnameinfo, ("127.0.0.1", 80), flags)
    assert found == expected


sockaddrs = st.one_of(
    st.tuples(addresses, st.integers(-1, 70000)),
    st.tuples(addresses, st.integers(-1, 70000), st.integers(-1, 1 << 21)),
    st.tuples(
        addresses,
        st.integers(0, 65535),
        st.integers(0, 0xFFFFF),
        st.integers(-1, 1 << 33),
    ),
    st.tuples(names, ports),
    st.sampled_from([(), ("::1",), ["::1", 80], None, "::1", ("::1", 80) * 3]),
)


@properties
@hypothesis.given(
    sockaddr=sockaddrs,
    flags=st.sampled_from([0, socket.NI_DGRAM, 1 << 29, socket.NI_NUMERICSERV]),
)
def test_name_of_an_address_is_as_by_socket(loop, sockaddr, flags):
    flags |= socket.NI_NUMERICHOST
    expected = outcome(socket.getnameinfo, sockaddr, flags)
    assert loop_outcome(loop, loop.getnameinfo, sockaddr, flags) == expected


@pytest.mark.parametrize("sockaddr", [("127.0.0.1", 80), ("127.0.0.1", 0)])
def test_name_of_loopback_is_as_by_socket(loop, sockaddr):
    expected = outcome(socket.getnameinfo, sockaddr, 0)
    assert loop_outcome(loop, loop.getnameinfo, sockaddr) == expected


# --- the life of a look-up ---------------------------------------------------


async def test_many_look_ups_at_once_all_come_back(loop):
    expected = socket.getaddrinfo("localhost", "http")
    found = await asyncio.gather(
        *[loop.getaddrinfo("localhost", "http") for _ in range(100)]
    )
    assert found == [expected] * 100


@pytest.mark.asyncio_is_worse("its executor may be done before the await")
async def test_cancelled_look_up_finishes_unseen(loop):
    task = asyncio.ensure_future(loop.getaddrinfo("localhost", "http"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await loop.getaddrinfo("localhost", "http")


@pytest.mark.asyncio_is_worse("its executor may be done before the await")
async def test_other_callbacks_run_during_a_look_up(loop):
    ran = []
    loop.call_soon(ran.append, 1)
    await loop.getaddrinfo("localhost", "http", type=socket.SOCK_STREAM)
    assert ran == [1]


def test_closed_loop_refuses_look_ups(loop):
    loop.close()
    for coroutine in (
        loop.getaddrinfo("localhost", "http"),
        loop.getaddrinfo("127.0.0.1", 80),
        loop.getnameinfo(("127.0.0.1", 80)),
    ):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            coroutine.send(None)


def test_loop_closed_during_a_look_up_is_freed(loop_factory, flavour):
    if not flavour.ours:
        pytest.skip("asyncio's executor keeps the loop")
    loop = loop_factory()
    future = loop._getaddrinfo("localhost", "http", 0, 0, 0, 0)
    loop.close()
    assert not future.done()
    references = sys.getrefcount(future)
    other = object()
    assert references == sys.getrefcount(other)


def test_loop_dropped_during_a_look_up_is_collected(flavour):
    if not flavour.ours:
        pytest.skip("asyncio's executor keeps the loop")
    loop = flavour.new_loop()
    future = loop._getaddrinfo("localhost", "http", 0, 0, 0, 0)
    seen = weakref.ref(loop)
    del loop, future
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        gc.collect()
    assert seen() is None


async def test_replaced_socket_function_is_called(loop, monkeypatch):
    threads = []

    def replacement(*args, **kwargs):
        threads.append(threading.current_thread())
        return args

    monkeypatch.setattr(socket, "getaddrinfo", replacement)
    monkeypatch.setattr(socket, "getnameinfo", replacement)
    found = await loop.getaddrinfo("a.test", 1, family=2, type=3, proto=4, flags=5)
    assert found == ("a.test", 1, 2, 3, 4, 5)
    assert await loop.getnameinfo(("::1", 1), 2) == (("::1", 1), 2)
    assert threading.main_thread() not in threads
    await loop.shutdown_default_executor()


async def test_debug_mode_reports_a_slow_look_up(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 10
    with caplog.at_level("DEBUG", logger="asyncio"):
        await loop.getaddrinfo("localhost", "http")
    assert "Getting address info localhost:" in caplog.text
    await loop.shutdown_default_executor()


AUDIT = """
    import socket

    events = []
    sys.addaudithook(
        lambda event, args: event.startswith("socket.get")
        and events.append((event, args)))
    loop = new_event_loop()
    for host, port, flags in (("localhost", "http", 0), ("::1", 80, 0),
                              (None, 80, socket.AI_PASSIVE)):
        loop.run_until_complete(loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=flags))
    for flags in (0, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV):
        loop.run_until_complete(loop.getnameinfo(("127.0.0.1", 80), flags))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    print(events)
"""


def test_each_look_up_raises_one_audit_event(flavour):
    done = support.run_python(AUDIT, flavour)
    kind = socket.SOCK_STREAM
    assert eval(done.stdout, {"SocketKind": socket.SocketKind}) == [
        ("socket.getaddrinfo", ("localhost", "http", 0, int(kind), 0)),
        ("socket.getaddrinfo", ("::1", 80, 0, int(kind), 0)),
        ("socket.getaddrinfo", (None, 80, 0, int(kind), 0)),
        ("socket.getnameinfo", (("127.0.0.1", 80),)),
        ("socket.getnameinfo", (("127.0.0.1", 80),)),
    ], done.stderr


EXIT = """
    loop = new_event_loop()
    futures = [loop.getaddrinfo("localhost", "http") for _ in range(50)]
    tasks = [loop.create_task(one) for one in futures]
    loop.call_soon(loop.stop)
    loop.run_forever()
    print("started", flush=True)
    {end}
"""


@pytest.mark.parametrize(
    "end", ["raise SystemExit(0)", "os._exit(0)", "del loop, futures, tasks"]
)
def test_interpreter_ends_with_look_ups_on_their_way(flavour, end):
    done = support.run_python(EXIT.format(end=end), flavour)
    assert done.stdout == "started\n"
    assert done.returncode == 0, done.stderr


FORK = """
    loop = new_event_loop()
    tasks = [loop.create_task(loop.getaddrinfo("localhost", "http"))
             for _ in range(20)]
    loop.call_soon(loop.stop)
    loop.run_forever()
    child = os.fork()
    if child == 0:
        del loop, tasks
        loop = new_event_loop()
        found = loop.run_until_complete(loop.getaddrinfo("localhost", "http"))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        os._exit(0 if found else 1)
    status = os.waitpid(child, 0)[1]
    for task in tasks:
        assert loop.run_until_complete(task)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    print(os.waitstatus_to_exitcode(status))
"""


def test_forked_child_looks_up_on_a_loop_of_its_own(flavour):
    if not flavour.ours:
        pytest.skip("asyncio's executor threads do not survive a fork")
    if support.UNDER_ASAN:
        pytest.skip("a fork may copy ASan's allocator while a thread has it locked")
    done = support.run_python(FORK, flavour)
    assert done.stdout == "0\n", done.stderr


def test_look_ups_on_loops_of_several_threads(flavour):
    expected = socket.getaddrinfo("localhost", "http")
    found = []

    def work():
        loop = flavour.new_loop()
        with contextlib.closing(loop):
            for _ in range(20):
                found.append(
                    loop.run_until_complete(loop.getaddrinfo("localhost", "http"))
                )
            loop.run_until_complete(loop.shutdown_default_executor())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 80
