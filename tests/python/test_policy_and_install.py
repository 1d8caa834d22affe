# SPDX-License-Identifier: Apache-2.0
"""EventLoopPolicy, install and uninstall, and the current loop."""

import asyncio
import sys
import threading

import pytest

from support import run_python

pytestmark = pytest.mark.usefixtures("no_deprecation")

if sys.version_info >= (3, 16):
    pytest.skip("asyncio has no policies any more", allow_module_level=True)


@pytest.fixture
def policy(flavour):
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(flavour.policy())
    yield asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(before)


@pytest.fixture
def ours(flavour):
    if not flavour.ours:
        pytest.skip("asyncio has nothing to install")


def test_policy_is_an_abstract_event_loop_policy(policy):
    assert isinstance(policy, asyncio.AbstractEventLoopPolicy)


def test_policy_makes_loops_of_its_kind(policy, flavour):
    loop = asyncio.new_event_loop()
    assert type(loop) is flavour.loop_class
    loop.close()


def test_policy_keeps_the_loop_that_was_set(policy):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    assert asyncio.get_event_loop() is loop
    asyncio.set_event_loop(None)
    loop.close()


def test_get_event_loop_in_another_thread_raises(policy):
    raised = []

    def target():
        try:
            policy.get_event_loop()
        except RuntimeError as exc:
            raised.append(exc)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    assert "There is no current event loop in thread" in str(raised[0])


def test_asyncio_run_uses_the_policy(policy, flavour):
    async def main():
        return type(asyncio.get_running_loop())

    assert asyncio.run(main()) is flavour.loop_class


def test_set_event_loop_by_hand_works(loop):
    asyncio.set_event_loop(loop)
    try:
        assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)


def test_set_event_loop_refuses_other_things():
    with pytest.raises((TypeError, AssertionError)):
        asyncio.set_event_loop("no loop")


def test_install_makes_asyncio_run_use_our_loop(flavour, ours):
    import rsloop_c

    async def main():
        return type(asyncio.get_running_loop())

    rsloop_c.install()
    try:
        assert asyncio.run(main()) is rsloop_c.Loop
    finally:
        rsloop_c.uninstall()
    assert asyncio.run(main()) is not rsloop_c.Loop


def test_install_twice_and_uninstall_once_restores(flavour, ours):
    import rsloop_c
    before = asyncio.get_event_loop_policy()
    rsloop_c.install()
    rsloop_c.install()
    assert isinstance(asyncio.get_event_loop_policy(),
                      rsloop_c.EventLoopPolicy)
    rsloop_c.uninstall()
    assert asyncio.get_event_loop_policy() is before
    rsloop_c.uninstall()
    assert asyncio.get_event_loop_policy() is before


def test_uninstall_leaves_a_policy_of_another_alone(flavour, ours):
    import rsloop_c
    before = asyncio.get_event_loop_policy()
    rsloop_c.install()
    other = asyncio.DefaultEventLoopPolicy()
    asyncio.set_event_loop_policy(other)
    rsloop_c.uninstall()
    assert asyncio.get_event_loop_policy() is other
    asyncio.set_event_loop_policy(before)


def test_subprocess_works_under_the_policy(policy):
    async def main():
        process = await asyncio.create_subprocess_exec("true")
        return await process.wait()

    assert asyncio.run(main()) == 0


def test_backend_of_the_policys_loops_comes_from_the_environment(flavour,
                                                                 ours):
    done = run_python("""
        import warnings
        warnings.simplefilter("ignore")
        import rsloop_c
        rsloop_c.install()
        async def main():
            print(asyncio.get_running_loop().backend)
        asyncio.run(main())
        """, flavour)
    assert done.stdout == f"{flavour.backend}\n", done.stderr
