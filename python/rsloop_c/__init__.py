# SPDX-License-Identifier: Apache-2.0
"""rsloop_c - a drop-in asyncio event loop for CPython on Linux, in C.

    import rsloop_c

    rsloop_c.run(main())

Importing this module changes nothing in asyncio; install() does.
"""

from ._core import build_info
from ._fs_events import FileSystemEvent
from ._info import runtime_info
from ._loop import Loop
from ._metrics import MetricsEndpoint
from ._native import get_cmake_dir, get_include
from ._policy import EventLoopPolicy, install, uninstall
from ._profile import (
    Profile,
    profile,
    profiler_running,
    start_profiler,
    stop_profiler,
)
from ._run import new_event_loop, run
from ._server import Server
from ._stats import reset_transport_stats, transport_stats
from ._streams import (
    StreamReader,
    StreamReaderProtocol,
    StreamWriter,
    open_connection,
    open_unix_connection,
    start_server,
    start_unix_server,
)
from ._text_subprocess import (
    TextProcess,
    TextStreamReader,
    TextStreamWriter,
    create_subprocess_exec,
    create_subprocess_shell,
)
from ._watchdog import Stall

try:
    from ._tls_context import SSLContext
except ImportError:  # a Python without ssl
    SSLContext = None  # type: ignore[assignment, misc]

__version__ = build_info()["version"]

__all__ = (
    "EventLoopPolicy",
    "FileSystemEvent",
    "Loop",
    "MetricsEndpoint",
    "Profile",
    "SSLContext",
    "Server",
    "Stall",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "TextProcess",
    "TextStreamReader",
    "TextStreamWriter",
    "__version__",
    "build_info",
    "create_subprocess_exec",
    "create_subprocess_shell",
    "get_cmake_dir",
    "get_include",
    "install",
    "new_event_loop",
    "open_connection",
    "open_unix_connection",
    "profile",
    "profiler_running",
    "reset_transport_stats",
    "run",
    "runtime_info",
    "start_profiler",
    "start_server",
    "start_unix_server",
    "stop_profiler",
    "transport_stats",
    "uninstall",
)
