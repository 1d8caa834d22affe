# SPDX-License-Identifier: Apache-2.0
"""What a process holds, so that a leak of one object in each cycle shows.

malloc's own account and the interpreter's count of blocks are exact, where
resident memory moves by pages and by what allocators keep for later.
"""

import collections
import ctypes
import gc
import os
import sys
import time

from support import native_threads

# Growth allowed in each cycle. One leaked object is a block, and 100 leaked
# bytes are five times the bound; what caches and free lists gain in a thousand
# cycles is far below it.
BLOCKS_PER_CYCLE = 0.25
BYTES_PER_CYCLE = 20.0
# What leaks grows in every window; a cache that fills grows in one.
WINDOWS = 4


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks",
        "uordblks", "fordblks", "keepcost")]


def _mallinfo2():
    """glibc's, which came with 2.33, or None."""
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if function is not None:
        function.restype = _Mallinfo2
    return function


_account = _mallinfo2()

# What one thread frees for another stays in caches of its own, which malloc
# counts as held: up to hundreds of KiB a thread. scripts/test turns them off.
COUNTS_ALL_THREADS = "tcache_count=0" in os.environ.get("GLIBC_TUNABLES", "")


class Held:
    """A measurement: blocks, malloc's bytes, fds, threads and mappings."""

    def __init__(self):
        # A cycle through a finalizer may need a second collection.
        gc.collect()
        gc.collect()
        self.blocks = sys.getallocatedblocks()
        info = _account() if _account is not None else None
        self.bytes = info.uordblks + info.hblkhd if info else 0
        self.fds = len(os.listdir("/proc/self/fd"))
        self.threads = len(native_threads())
        with open("/proc/self/maps") as file:
            self.maps = sum(1 for _ in file)

    def growth_since(self, before, cycles, of_pools=False):
        """What grew more than it may, as text; empty if nothing did."""
        grown = []
        blocks = (self.blocks - before.blocks) / cycles
        if blocks > BLOCKS_PER_CYCLE:
            grown.append(f"{blocks:.2f} Python blocks a cycle")
        size = (self.bytes - before.bytes) / cycles
        if size > BYTES_PER_CYCLE and (COUNTS_ALL_THREADS or not of_pools):
            grown.append(f"{size:.0f} bytes of malloc a cycle")
        for name in ("fds", "threads"):
            count = getattr(self, name) - getattr(before, name)
            if count > 0:
                grown.append(f"{count} {name}")
        maps = (self.maps - before.maps) / cycles
        if maps > 0.05:
            grown.append(f"{maps:.2f} mappings a cycle")
        return ", ".join(grown)


def _kinds_of_objects():
    return collections.Counter(type(thing).__name__ for thing in gc.get_objects())


def _settled(before):
    """What is held once threads and fds that end late are gone."""
    deadline = time.monotonic() + 1.0
    while True:
        held = Held()
        late = held.threads > before.threads or held.fds > before.fds
        if not late or time.monotonic() > deadline:
            return held
        time.sleep(0.005)


def assert_no_growth(run, cycles, of_pools=False):
    """run(count) does count cycles. Fails if each window of `cycles` ends with
    more than it began with. of_pools: native threads of a pool take part."""
    run(max(cycles // 4, 20))
    kinds = _kinds_of_objects()
    Held()           # the first measurement makes objects of its own
    before = Held()
    reports = []
    for _ in range(WINDOWS):
        run(cycles)
        held = _settled(before)
        grown = held.growth_since(before, cycles, of_pools)
        if not grown:
            return
        reports.append(grown)
        before = held
    kinds = _kinds_of_objects() - kinds
    raise AssertionError(
        f"grew in each of {WINDOWS} windows of {cycles} cycles: {reports}; "
        f"more objects: {kinds.most_common(8)}")
