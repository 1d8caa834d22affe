# SPDX-License-Identifier: Apache-2.0
"""create_future, create_task with every argument of each Python, factories."""

import asyncio
import contextvars
import sys

import pytest

from support import run_python

variable = contextvars.ContextVar("variable", default="default")


async def value(result):
    await asyncio.sleep(0)
    return result


def test_create_future_belongs_to_the_loop(loop):
    future = loop.create_future()
    assert isinstance(future, asyncio.Future)
    assert future.get_loop() is loop
    assert not future.done()


def test_create_task_belongs_to_the_loop(loop):
    task = loop.create_task(value(1))
    assert isinstance(task, asyncio.Task)
    assert task.get_loop() is loop
    assert loop.run_until_complete(task) == 1


def test_create_task_sets_the_name(loop):
    task = loop.create_task(value(1), name="the name")
    assert task.get_name() == "the name"
    loop.run_until_complete(task)


def test_create_task_without_a_name_gets_a_generated_one(loop):
    one, two = loop.create_task(value(1)), loop.create_task(value(2), name=None)
    assert one.get_name().startswith("Task-")
    assert two.get_name().startswith("Task-")
    assert one.get_name() != two.get_name()
    loop.run_until_complete(asyncio.gather(one, two))


def test_create_task_runs_in_the_given_context(loop):
    if sys.version_info < (3, 11):
        pytest.skip("create_task(context=) is new in 3.11")
    context = contextvars.copy_context()
    context.run(variable.set, "in context")

    async def main():
        await asyncio.sleep(0)
        return variable.get()

    task = loop.create_task(main(), context=context)
    assert loop.run_until_complete(task) == "in context"


def test_create_task_refuses_what_is_no_coroutine(loop):
    with pytest.raises(TypeError):
        loop.create_task(print)
    with pytest.raises(TypeError):
        loop.create_task(loop.create_future())


def test_create_task_refuses_unknown_arguments(loop):
    coro = value(1)
    with pytest.raises(TypeError):
        loop.create_task(coro, no_such_argument=1)
    coro.close()


def test_create_task_takes_its_coroutine_as_a_keyword(loop):
    task = loop.create_task(coro=value("by keyword"))
    assert loop.run_until_complete(task) == "by keyword"


def test_create_task_eager_start_runs_the_first_step_at_once(loop):
    if sys.version_info < (3, 14):
        pytest.skip("create_task(eager_start=) is new in 3.14")
    seen = []

    async def step():
        seen.append("stepped")
        await asyncio.sleep(0)

    async def main():
        task = loop.create_task(step(), eager_start=True)
        assert seen == ["stepped"]
        await task

    loop.run_until_complete(main())


def test_task_factory_is_none_at_first(loop):
    assert loop.get_task_factory() is None


def test_task_factory_makes_the_tasks(loop):
    made = []

    def factory(loop, coro, **kwargs):
        task = asyncio.Task(coro, loop=loop, **kwargs)
        made.append(task)
        return task

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    task = loop.create_task(value(3), name="by factory")
    assert made == [task]
    assert task.get_name() == "by factory"
    assert loop.run_until_complete(task) == 3
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None


def test_task_factory_gets_the_context(loop):
    if sys.version_info < (3, 11):
        pytest.skip("create_task(context=) is new in 3.11")
    seen = {}

    def factory(loop, coro, **kwargs):
        seen.update(kwargs)
        return asyncio.Task(coro, loop=loop, **kwargs)

    loop.set_task_factory(factory)
    context = contextvars.copy_context()
    loop.run_until_complete(loop.create_task(value(1), context=context))
    assert seen["context"] is context


def test_task_factory_must_be_callable_or_none(loop):
    with pytest.raises(TypeError, match="task factory must be a callable"):
        loop.set_task_factory("not callable")


def test_unknown_keywords_go_to_the_task_factory(loop):
    if sys.version_info < (3, 13, 3):
        pytest.skip("create_task(**kwargs) is new in 3.13.3")
    seen = []

    def factory(loop, coro, **kwargs):
        seen.append(kwargs)
        return asyncio.Task(coro, loop=loop)

    loop.set_task_factory(factory)
    task = loop.create_task(value(3), of_ours="unknown", eager_start=True)
    assert loop.run_until_complete(task) == 3
    assert seen[0]["of_ours"] == "unknown"
    assert seen[0]["eager_start"] is True


def test_call_graph_shows_who_awaits_whom(loop):
    if sys.version_info < (3, 14):
        pytest.skip("asyncio.capture_call_graph() is new in 3.14")

    async def inner():
        return asyncio.capture_call_graph(), asyncio.format_call_graph()

    async def outer():
        return await asyncio.create_task(inner(), name="the inner task")

    graph, text = loop.run_until_complete(outer())
    assert graph.future.get_name() == "the inner task"
    assert [waiter.future for waiter in graph.awaited_by]
    assert "outer" in text


def test_asyncio_ps_sees_the_tasks_of_a_running_process(flavour):
    if sys.version_info < (3, 14):
        pytest.skip("python -m asyncio ps is new in 3.14")
    done = run_python("""
        import subprocess
        async def sleeping():
            await asyncio.sleep(3600)

        async def main():
            task = asyncio.create_task(sleeping(), name="the sleeper")
            await asyncio.sleep(0)
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "asyncio", "ps", str(os.getpid()),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            print(*[text.decode() for text in await child.communicate()])
            task.cancel()

        loop = new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        """, flavour)
    if "ermission" in done.stdout + done.stderr:
        pytest.skip("this system does not let a process be looked into")
    assert "the sleeper" in done.stdout, done.stderr


def test_eager_task_factory_finishes_a_task_that_never_waits(loop):
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks are new in 3.12")
    loop.set_task_factory(asyncio.eager_task_factory)

    async def at_once():
        return "at once"

    async def main():
        task = asyncio.create_task(at_once())
        assert task.done()
        return task.result()

    assert loop.run_until_complete(main()) == "at once"


def test_eager_task_that_waits_continues_on_the_loop(loop):
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks are new in 3.12")
    loop.set_task_factory(asyncio.eager_task_factory)
    seen = []

    async def child():
        seen.append("started")
        await asyncio.sleep(0)
        seen.append("continued")
        return asyncio.current_task()

    async def main():
        task = asyncio.create_task(child())
        assert seen == ["started"]
        assert await task is task

    loop.run_until_complete(main())
    assert seen == ["started", "continued"]


def test_current_task_is_the_one_that_runs(loop):
    async def main():
        return asyncio.current_task()

    task = loop.create_task(main())
    assert loop.run_until_complete(task) is task
    assert asyncio.current_task(loop) is None


def test_all_tasks_names_the_pending_ones(loop):
    async def main():
        other = loop.create_task(asyncio.sleep(3600))
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task(), other}
        other.cancel()

    loop.run_until_complete(main())


def test_cancelled_task_raises_in_who_awaits_it(loop):
    async def main():
        task = loop.create_task(asyncio.sleep(3600))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    loop.run_until_complete(main())


def test_done_callbacks_run_on_the_loop_in_order(loop):
    seen = []
    future = loop.create_future()
    for number in range(5):
        future.add_done_callback(lambda future, n=number: seen.append(n))
    future.set_result(None)
    assert seen == []
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [0, 1, 2, 3, 4]


def test_gather_of_many_tasks_keeps_their_order(loop):
    async def main():
        return await asyncio.gather(*(value(n) for n in range(2000)))

    assert loop.run_until_complete(main()) == list(range(2000))


def test_tasks_take_turns(loop):
    seen = []

    async def worker(name):
        for step in range(3):
            seen.append(f"{name}{step}")
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(worker("a"), worker("b"))

    loop.run_until_complete(main())
    assert seen == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_task_of_another_loop_is_refused(loop_factory):
    mine, other = loop_factory(), loop_factory()
    future = other.create_future()
    with pytest.raises(ValueError):
        mine.run_until_complete(future)


def test_awaiting_a_future_of_another_loop_raises(loop_factory):
    mine, other = loop_factory(), loop_factory()
    future = other.create_future()

    async def main():
        with pytest.raises(RuntimeError, match="attached to a different loop"):
            await future

    mine.run_until_complete(main())


def test_queues_locks_and_events_work(loop):
    async def main():
        queue, lock, event = asyncio.Queue(1), asyncio.Lock(), asyncio.Event()
        seen = []

        async def producer():
            for number in range(20):
                await queue.put(number)
            event.set()

        async def consumer():
            for _ in range(20):
                async with lock:
                    seen.append(await queue.get())

        await asyncio.gather(producer(), consumer(), event.wait())
        return seen

    assert loop.run_until_complete(main()) == list(range(20))


def test_task_group_cancels_the_siblings_of_a_failed_task(loop):
    if sys.version_info < (3, 11):
        pytest.skip("TaskGroup is new in 3.11")
    cancelled = []

    async def sibling():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def fail():
        await asyncio.sleep(0)
        raise ValueError("failed")

    async def main():
        with pytest.raises(ExceptionGroup) as caught:  # noqa: F821
            async with asyncio.TaskGroup() as group:
                group.create_task(sibling())
                group.create_task(fail())
        assert isinstance(caught.value.exceptions[0], ValueError)

    loop.run_until_complete(main())
    assert cancelled == [True]


def test_timeout_context_cancels_the_body(loop):
    if sys.version_info < (3, 11):
        pytest.skip("asyncio.timeout is new in 3.11")

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await asyncio.sleep(3600)

    loop.run_until_complete(main())


def test_python_implemented_tasks_and_futures_work(loop):
    """asyncio's pure Python classes are what subclasses often come from."""
    from asyncio import futures, tasks
    loop.set_task_factory(
        lambda loop, coro, **kwargs: tasks._PyTask(coro, loop=loop, **kwargs))

    async def main():
        future = futures._PyFuture(loop=loop)
        loop.call_soon(future.set_result, "python")
        return await future

    assert loop.run_until_complete(main()) == "python"


def test_task_and_future_classes_are_those_of_asyncio_at_the_call(
        loop, monkeypatch):
    """Programs put the ones written in Python, or their own, in place."""
    monkeypatch.setattr(asyncio.tasks, "Task", asyncio.tasks._PyTask)
    monkeypatch.setattr(asyncio.futures, "Future", asyncio.futures._PyFuture)

    async def main():
        task = loop.create_task(asyncio.sleep(0, 7), name="named")
        return type(task), await task

    task = loop.create_task(main())
    future = loop.create_future()
    loop.call_soon(future.set_result, 8)
    assert loop.run_until_complete(task) == (asyncio.tasks._PyTask, 7)
    assert type(task) is asyncio.tasks._PyTask
    assert type(future) is asyncio.futures._PyFuture
    assert loop.run_until_complete(future) == 8
