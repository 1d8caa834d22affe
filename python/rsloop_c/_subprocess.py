# SPDX-License-Identifier: Apache-2.0
"""Subprocess exits by pidfd: no child watcher, no SIGCHLD handler.

Spawning is asyncio's (and so subprocess.Popen's) with every argument it has.
Any number of loops, in any threads, can have children at the same time.
"""

from __future__ import annotations

import os
import threading
from asyncio.log import logger
from asyncio.unix_events import _UnixSubprocessTransport


def _exit_code(pid):
    """Reap `pid`, which has ended; its return code as Popen counts."""
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        logger.warning(
            "child process pid %d exit status already read: "
            " will report returncode 255",
            pid,
        )
        return 255
    return os.waitstatus_to_exitcode(status)


class SubprocessMixin:
    """_make_subprocess_transport() of a loop, whatever the policy's watcher."""

    async def _make_subprocess_transport(
        self,
        protocol,
        args,
        shell,
        stdin,
        stdout,
        stderr,
        bufsize,
        extra=None,
        **kwargs,
    ):
        waiter = self.create_future()
        transp = _UnixSubprocessTransport(
            self,
            protocol,
            args,
            shell,
            stdin,
            stdout,
            stderr,
            bufsize,
            waiter=waiter,
            extra=extra,
            **kwargs,
        )
        self._watch_child(transp.get_pid(), transp)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transp.close()
            await transp._wait()
            raise
        return transp

    def _watch_child(self, pid, transp):
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            # Old kernel, sandbox, or out of descriptors: a thread can wait.
            threading.Thread(
                target=self._wait_for_child,
                args=(pid, transp),
                name=f"rsloop_c-waitpid-{pid}",
                daemon=True,
            ).start()
            return
        self._add_reader(pidfd, self._child_ended, pid, pidfd, transp)

    def _child_ended(self, pid, pidfd, transp):
        self._remove_reader(pidfd)
        os.close(pidfd)
        self._child_watcher_callback(pid, _exit_code(pid), transp)

    def _wait_for_child(self, pid, transp):
        returncode = _exit_code(pid)
        try:
            self._child_watcher_callback(pid, returncode, transp)
        except RuntimeError:
            logger.warning("Loop %r that handles pid %r is closed", self, pid)
