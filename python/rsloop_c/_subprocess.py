# SPDX-License-Identifier: Apache-2.0
"""Subprocess exits by pidfd: no child watcher, no SIGCHLD handler.

Spawning is asyncio's (and so subprocess.Popen's) with every argument it has.
Any number of loops, in any threads, can have children at the same time.
"""

from __future__ import annotations

import contextlib
import os
import threading
from asyncio import events, tasks
from asyncio.log import logger
from asyncio.unix_events import _UnixSubprocessTransport


def _exit_code(pid, transp):
    """Reap `pid`, which has ended; its return code as Popen counts."""
    proc = transp._proc
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        if proc.returncode is not None:
            return proc.returncode  # Popen.poll() was faster
        logger.warning(
            "child process pid %d exit status already read: "
            " will report returncode 255",
            pid,
        )
        return 255
    # From now on the number may be another process's: Popen must not wait for
    # it, nor signal it.
    proc.returncode = os.waitstatus_to_exitcode(status)
    return proc.returncode


def _users_watcher():
    """Has the user set a child watcher of another make? (Before 3.14.)"""
    policy = getattr(events, "_event_loop_policy", None)
    watcher = getattr(policy, "_watcher", None)
    return watcher is not None and type(watcher).__module__ != "asyncio.unix_events"


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
        if _users_watcher():
            return await super()._make_subprocess_transport(
                protocol, args, shell, stdin, stdout, stderr, bufsize, extra, **kwargs
            )
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
        try:
            self._watch_child(transp.get_pid(), transp)
        except BaseException:
            # Nobody will hear of its end: it must not outlive this call.
            transp.close()
            transp._proc.wait()
            raise
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transp.close()
            await tasks.shield(transp._wait())
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
        try:
            self._add_reader(pidfd, self._child_ended, pid, pidfd, transp)
        except BaseException:
            os.close(pidfd)
            raise
        self._pidfds.add(pidfd)

    def _child_ended(self, pid, pidfd, transp):
        self._remove_reader(pidfd)
        self._pidfds.discard(pidfd)
        os.close(pidfd)
        self._reap_child(pid, transp)

    def _wait_for_child(self, pid, transp):
        """Wait on a thread, and only that: until the loop's thread reaps the
        child, nobody who signals it can hit another process of its number."""
        with contextlib.suppress(ChildProcessError):  # others reaped it
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        try:
            self.call_soon_threadsafe(self._reap_child, pid, transp)
        except RuntimeError:
            _exit_code(pid, transp)
            logger.warning("Loop %r that handles pid %r is closed", self, pid)

    def _reap_child(self, pid, transp):
        self._child_watcher_callback(pid, _exit_code(pid, transp), transp)

    def _forget_children(self):
        """The loop closes: nobody will hear of children that still run."""
        while self._pidfds:
            with contextlib.suppress(OSError):
                os.close(self._pidfds.pop())
