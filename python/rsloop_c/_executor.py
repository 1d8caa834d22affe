# SPDX-License-Identifier: Apache-2.0
"""The default executor: asyncio's, with a queue of ours between its threads and
the loop.

It is a ThreadPoolExecutor to everybody: submit(), map(), shutdown() and what
the interpreter's end asks of it are CPython's own code, over our queue. Only the
jobs of run_in_executor(None, ...) go past submit(), in C, and only where
submit() is what it was: programs that trace threads replace it.
"""

from __future__ import annotations

import concurrent.futures
import threading
import types
import weakref
from asyncio import events, futures
from concurrent.futures import _base
from concurrent.futures import thread as pool_module

from . import _core

_ThreadPoolExecutor = concurrent.futures.ThreadPoolExecutor
_WORKERS_HAVE_CONTEXT = hasattr(pool_module, "WorkerContext")  # 3.14


def _plain_submit():
    """ThreadPoolExecutor.submit if it is CPython's, or None."""
    submit = vars(_ThreadPoolExecutor).get("submit")
    plain = isinstance(submit, types.FunctionType) and submit.__globals__ is vars(
        pool_module
    )
    return submit if plain else None


def _serve(executor_reference, context, queue):
    """concurrent.futures.thread._worker() over our queue."""
    queue.worker_came()
    arguments = () if context is None else (context,)
    try:
        while True:
            item = queue.serve()
            if item is not None:
                item.run(*arguments)
                del item
                continue
            executor = executor_reference()
            if pool_module._shutdown or executor is None or executor._shutdown:
                if executor is not None:
                    executor._shutdown = True
                queue.put(None)  # for the other workers
                return
            del executor
    except BaseException:
        _base.LOGGER.critical("Exception in worker", exc_info=True)


class _DefaultExecutor(_ThreadPoolExecutor):
    def __init__(self, spin_ns):
        super().__init__(thread_name_prefix="asyncio")
        self._work_queue = _core.WorkQueue(_plain_submit(), spin_ns)

    def _start_worker(self):
        """A job was queued in C, and no worker is free for it."""
        with self._shutdown_lock, pool_module._global_shutdown_lock:
            if pool_module._shutdown:
                raise RuntimeError(
                    "cannot schedule new futures after interpreter shutdown"
                )
            self._adjust_thread_count()

    def _adjust_thread_count(self):
        queue = self._work_queue
        number = len(self._threads)
        if number >= self._max_workers:
            queue.set_staffed()
            return
        if not queue.expect_worker():
            return

        # When the executor is lost, its workers end.
        def lost(_, queue=queue):
            queue.put(None)

        try:
            context = self._create_worker_context() if _WORKERS_HAVE_CONTEXT else None
            thread = threading.Thread(
                name=f"{self._thread_name_prefix}_{number}",
                target=_serve,
                args=(weakref.ref(self, lost), context, queue),
            )
            thread.start()
        except BaseException:
            queue.worker_came()
            raise
        self._threads.add(thread)
        pool_module._threads_queues[thread] = queue


class ExecutorMixin:
    """What _core.Loop.run_in_executor() leaves to Python."""

    def _run_in_executor(self, *args, **kwargs):
        if (
            self._default_executor is None
            and not self.is_closed()
            and not self._executor_shutdown_called
            and (args[0] if args else kwargs.get("executor", self)) is None
            and concurrent.futures.ThreadPoolExecutor is _ThreadPoolExecutor
        ):
            self._default_executor = _DefaultExecutor(self._spin_ns)
        return super().run_in_executor(*args, **kwargs)

    def _settle_work(self, future, outcome, failed):
        """A job has raised, or its future is done already: as after
        asyncio.wrap_future()."""
        source = concurrent.futures.Future()
        if failed:
            source.set_exception(outcome)
        else:
            source.set_result(outcome)
        self.call_soon(futures._copy_future_state, source, future)

    def _cancel_work(self, future):
        """The executor drops a job that it has not begun; any thread."""
        if self.is_closed():
            return
        if events._get_running_loop() is self:
            future.cancel()
        else:
            self.call_soon_threadsafe(future.cancel)
