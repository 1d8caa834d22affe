# SPDX-License-Identifier: Apache-2.0
"""What an operation is made of: what is read of perf's output, and how perf is
told when to count. A stand-in takes perf's place, which needs root."""

import contextlib
import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    anatomy,
    cell,
    perf,
    tools,
    workloads,
)

COUNTED = """\
# started on Sat Nov 21 23:19:01 2026

120,,raw_syscalls:sys_enter,62218140,100.00,,
60,,syscalls:sys_enter_recvfrom,62218140,100.00,,
40,,syscalls:sys_enter_sendto,62218140,100.00,,
9,,sched:sched_waking,62218140,100.00,,
"""

STAND_IN = """\
#!{python}
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # until it waits for it
words = sys.argv
control, answer = words[words.index("--control") + 1].removeprefix("fifo:").split(",")
with open(control) as control, open(answer, "w") as answer:
    for expected in ("enable", "disable"):
        assert control.readline().strip() == expected
        answer.write("ack\\n")
        answer.flush()
    signal.sigwait([signal.SIGINT])
    with open(words[words.index("-o") + 1], "w") as out:
        out.write("7,,raw_syscalls:sys_enter,1,100.00,,\\n")
"""


@pytest.fixture
def tracefs(tmp_path, monkeypatch):
    """A kernel that knows two of the events."""
    known = f"{perf.ALL_CALLS}\nsyscalls:sys_enter_read\nsched:sched_switch\n"
    (tmp_path / "available_events").write_text(known)
    monkeypatch.setattr(perf, "TRACEFS", (tmp_path / "none", tmp_path))


def install(tmp_path, monkeypatch, text):
    program = tmp_path / "perf"
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_calls_without_a_counter_of_their_own_are_summed_up():
    assert perf.parse_counts(COUNTED) == {
        "system calls": 120,
        "recvfrom": 60,
        "sendto": 40,
        "wakes of another thread": 9,
        "other calls": 20,
    }


def test_what_perf_could_not_count_is_no_zero():
    text = COUNTED.replace("60,", "<not counted>,")
    with pytest.raises(tools.ToolError, match=r"sys_enter_recvfrom: <not counted>"):
        perf.parse_counts(text)


def test_only_events_of_this_kernel_are_asked_for(tracefs):
    assert perf.known_events() == [perf.ALL_CALLS, "syscalls:sys_enter_read"]


def test_kernel_that_shows_no_events_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(perf, "TRACEFS", (tmp_path,))
    with pytest.raises(tools.ToolError, match="needs root"):
        perf.known_events()


def test_shares_of_one_object_add_up():
    text = (
        " 51.50% ,python3.14            \n"
        " 40.25% ,[kernel.kallsyms]     \n"
        "  1.25% ,_core.cpython-314-x86_64-linux-gnu.so\n"
        "  0.25% ,[kernel.vmlinux]\n"
    )
    shares = perf.parse_shares(text)
    assert shares == {"python3.14": 0.515, "the kernel": 0.405, "_core": 0.0125}


def test_perf_counts_from_enable_to_disable(tmp_path, monkeypatch, tracefs):
    install(tmp_path, monkeypatch, STAND_IN.format(python=sys.executable))
    with perf.counted(os.getpid()) as counts:
        assert counts == {}
    assert counts == {"system calls": 7, "other calls": 7}


def test_perf_that_refuses_says_why(tmp_path, monkeypatch, tracefs):
    install(tmp_path, monkeypatch, "#!/bin/sh\necho no permission >&2\nexit 1\n")
    with (
        pytest.raises(tools.ToolError, match="perf: no permission"),
        perf.counted(os.getpid()),
    ):
        pytest.fail("nothing counts here")


def test_absent_perf_is_told(tmp_path, monkeypatch, tracefs):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(tools.ToolError, match="not installed"),
        perf.counted(os.getpid()),
    ):
        pytest.fail("nothing counts here")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_served_row_is_counted_by_message(monkeypatch):
    @contextlib.contextmanager
    def counted(pid):
        counts = {}
        yield counts
        counts["system calls"] = 1000.0

    monkeypatch.setattr(perf, "counted", counted)
    row = workloads.WORKLOADS["echo-protocol-1k-3"]
    conditions = cell.Conditions(seconds=0.3, client=tools.build_client())
    found = anatomy.examine(row, "asyncio", conditions)
    assert found.figures["a second"][0] > 0
    assert 0 < found.counts["system calls"][0] < 1000
    parts = [
        found.figures[f"of it {who}"][0]
        for who in (
            "the kernel's",
            "Python's and the loop's",
        )
    ]
    assert sum(parts) == pytest.approx(found.figures["CPU, µs"][0])


def test_row_in_one_process_is_the_difference_of_two_runs(monkeypatch):
    """Each run has 50 calls of its own, and 3 an operation."""

    def run_body(workload, loop, conditions, under=()):
        number = 100 * conditions.scale
        calls = 50 + 3 * number * 1.1
        if under:
            out = Path(under[under.index("-o") + 1])
            out.write_text(f"{calls:.0f},,{perf.ALL_CALLS},1,100.00,,\n")
        used = {"seconds": 1, "cpu": 0.5, "kernel": 0.1, "sleeps": 7}
        return used | {"operations": number}

    monkeypatch.setattr(cell, "run_body", run_body)
    monkeypatch.setattr(perf, "known_events", lambda: [perf.ALL_CALLS])
    row = workloads.WORKLOADS["tcp_streams"]
    found = anatomy.examine(row, "asyncio", cell.Conditions(seconds=1))
    assert found.counts["system calls"] == [pytest.approx(3)]
    assert found.figures["of it the kernel's"] == [pytest.approx(1000)]


def test_table_shows_medians_and_leaves_out_what_hardly_happens():
    def one(rate, calls):
        counts = {"read": calls, "futex": 0.001}
        return anatomy.Anatomy(
            {"a second": [rate]}, {n: [c] for n, c in counts.items()}
        )

    rounds = [one(1000.0, 1.5), one(3000.0, 1.0), one(2000.0, 1.25)]
    ours, theirs = anatomy.merge(rounds), anatomy.merge([one(10.0, 0.0)])
    assert anatomy.table("http", {"a": ours, "b": theirs}).splitlines() == [
        "| http | a | b |",
        "|---|---|---|",
        "| a second | 2,000 | 10 |",
        "| read | 1.250 | 0.000 |",
    ]


def test_row_without_operations_is_refused():
    with pytest.raises(cell.CellError, match="bulk-in has no operations"):
        anatomy.examine(workloads.WORKLOADS["bulk-in"], "asyncio", cell.Conditions())
