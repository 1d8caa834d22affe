# SPDX-License-Identifier: Apache-2.0
"""The benchmark harness itself: what it computes and shows, and that a loop that
crashes, hangs or is missing becomes an entry, not an end. asyncio serves as the
loop under test; nothing here depends on how fast anything is."""

import json
import os
import shutil
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    __main__ as cli,
)
from benchmarks import (  # noqa: E402
    cell,
    chart,
    instructions,
    loops,
    machine,
    report,
    schedule,
    stats,
    sweep,
    tools,
    workloads,
)
from benchmarks.cell import Sample  # noqa: E402

CALLBACKS = workloads.WORKLOADS["callbacks"]
IDLE = workloads.WORKLOADS["idle"]
ECHO = workloads.WORKLOADS["echo-protocol-1k-3"]
SVG = "{http://www.w3.org/2000/svg}"

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None, reason="no C compiler to build the client with"
)


def samples(workload, loop, *values, cpu=None):
    """One a round; None is a round that failed."""
    return [
        Sample(workload.name, loop, number, value, cpu_us=cpu)
        if value is not None
        else Sample(workload.name, loop, number, error="it broke")
        for number, value in enumerate(values)
    ]


def a_run(*found, rows=(CALLBACKS,), loops=("uvloop", "asyncio")):
    return report.Run(
        machine.describe(),
        {"rounds": 3, "seconds": 1.0, "pin": "unpinned", "seed": 1, "gc": "on"},
        "uvloop",
        dict.fromkeys(loops, "1.0"),
        {"zloop": "ModuleNotFoundError: No module named 'zloop'"},
        list(rows),
        [sample for group in found for sample in group],
    )


# --- statistics --------------------------------------------------------------


def test_ratio_is_the_median_of_paired_ratios_not_of_medians():
    results = stats.Results(
        samples(CALLBACKS, "uvloop", 100, 10, 1000)
        + samples(CALLBACKS, "asyncio", 200, 20, 500)
    )
    ratio = results.ratio(CALLBACKS, "asyncio", "uvloop")
    assert ratio == stats.Spread(median=2.0, low=0.5, high=2.0, count=3)


def test_round_that_failed_has_no_ratio_but_is_counted():
    results = stats.Results(
        samples(CALLBACKS, "uvloop", 100, 100, 100)
        + samples(CALLBACKS, "asyncio", 50, None, 70)
    )
    ratio = results.ratio(CALLBACKS, "asyncio", "uvloop")
    assert (ratio.count, ratio.median) == (2, 0.6)
    assert results.errors("callbacks", "asyncio") == ["it broke"]


def test_above_one_is_better_for_bytes_and_for_cpu_too():
    results = stats.Results(
        samples(IDLE, "uvloop", 1000, cpu=4.0) + samples(IDLE, "rloop", 500, cpu=8.0)
    )
    assert results.ratio(IDLE, "rloop", "uvloop").median == 2.0
    assert results.ratio(IDLE, "rloop", "uvloop", "cpu_us").median == 0.5


def test_no_common_round_gives_no_ratio():
    results = stats.Results(
        samples(CALLBACKS, "uvloop", None, 1) + samples(CALLBACKS, "asyncio", 1, None)
    )
    assert results.ratio(CALLBACKS, "asyncio", "uvloop") is None
    assert stats.best_loop(results, CALLBACKS, ["asyncio"], "uvloop") is None


# --- choosing and ordering ---------------------------------------------------


def test_schedule_has_each_cell_once_and_mixes_the_loops():
    rows, loops = [CALLBACKS, ECHO], ["a", "b", "c", "d"]
    cells = list(schedule.cells(rows, loops, 6, seed=3))
    assert len(cells) == len({(n, row.name, loop) for n, row, loop in cells}) == 48
    assert cells == list(schedule.cells(rows, loops, 6, seed=3))
    firsts = {cells[i][2] for i in range(0, 48, 4)}
    assert len(firsts) > 1
    assert [row.name for _, row, _ in cells[:8]] == ["callbacks"] * 4 + [ECHO.name] * 4


def test_select_by_name_set_and_prefix_without_doubles():
    names = [row.name for row in workloads.select("echo-sock-1k-*,http,http,quick")]
    assert names[:3] == ["echo-sock-1k-3", "echo-sock-1k-64", "http"]
    assert len(names) == len(set(names))
    with pytest.raises(ValueError, match="no workload 'nothing'"):
        workloads.select("http,nothing")


def test_loops_by_name_and_by_set():
    names = loops.select("asyncio,tls")
    assert names[0] == "asyncio"
    assert {"uvloop", "rsloop_c:auto+mbedtls"} < set(names)
    assert len(names) == len(set(names))
    assert "rsloop_c:auto+python" not in loops.select("default")
    with pytest.raises(ValueError, match="no such loop: nothing"):
        loops.select("uvloop,nothing")


def test_every_row_has_something_to_run():
    from benchmarks.bodies import BODIES
    from benchmarks.servers import SERVERS

    for row in workloads.WORKLOADS.values():
        there = BODIES if row.kind == "inprocess" else SERVERS
        assert row.target in there, row.name
    assert {path.target for path in instructions.PATHS.values()} <= {
        *BODIES,
        *instructions.SERVED,
    }


# --- report ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.254, "0.25"),
        (12.34, "12.3"),
        (99.96, "100"),
        (1234, "1,234"),
        (12345, "12.3k"),
        (999_400, "999.4k"),
        (1_234_000, "1.23M"),
    ],
)
def test_numbers_are_short(number, text):
    assert report.short(number) == text


def test_table_shows_ratio_cpu_and_who_is_best():
    run = a_run(
        samples(CALLBACKS, "uvloop", 1000, 1000, 1000, cpu=2.0),
        samples(CALLBACKS, "asyncio", 500, 500, 400, cpu=4.0),
        samples(CALLBACKS, "rloop", 1500, 1500, 1500, cpu=1.0),
        loops=("uvloop", "asyncio", "rloop"),
    )
    row = report.summary(run).splitlines()[-1]
    assert row == "| callbacks | 1,000 ops/s | 0.50 (0.50) | **1.50** (2.00) |"


def test_failures_and_absent_loops_are_in_the_report():
    run = a_run(
        samples(CALLBACKS, "uvloop", 1000, 1000, 1000),
        samples(CALLBACKS, "asyncio", None, None, None),
    )
    text = report.markdown(run)
    assert "| callbacks | **1,000 ops/s** | failed |" in text
    assert "- callbacks on asyncio: it broke (x3)" in text
    assert "absent: zloop: ModuleNotFoundError" in text


def test_what_a_loop_cannot_do_is_a_dash_with_its_reason():
    run = a_run(samples(CALLBACKS, "uvloop", 1000), samples(CALLBACKS, "asyncio", None))
    run.samples[-1].error = "NotImplementedError: no TLS"
    text = report.markdown(run)
    assert "| callbacks | **1,000 ops/s** | - |" in text
    assert "- callbacks on asyncio: NotImplementedError: no TLS (x1)" in text


def test_baseline_that_failed_leaves_the_others_numbers():
    run = a_run(samples(CALLBACKS, "uvloop", None), samples(CALLBACKS, "asyncio", 1234))
    assert report.summary(run).splitlines()[-1] == "| callbacks | failed | 1,234 |"


def test_losses_name_the_rows_behind_the_baseline():
    run = a_run(
        samples(CALLBACKS, "uvloop", 100, cpu=1.0)
        + samples(ECHO, "uvloop", 100, cpu=1.0),
        samples(CALLBACKS, "asyncio", 80, cpu=2.0)
        + samples(ECHO, "asyncio", 120, cpu=2.0),
        rows=(CALLBACKS, ECHO),
    )
    assert report.losses(run, "asyncio") == ["callbacks 0.80, CPU 0.50"]


def test_json_brings_the_same_run_back(tmp_path):
    run = a_run(
        samples(CALLBACKS, "uvloop", 1000.5, None, 900, cpu=2.0),
        samples(CALLBACKS, "asyncio", 500, 400, 300, cpu=4.0),
    )
    path = tmp_path / "results.json"
    report.save(run, path)
    assert report.load(path) == run
    assert report.markdown(report.load(path)) == report.markdown(run)
    path.write_text(json.dumps({"schema": 99}))
    with pytest.raises(ValueError, match="no result"):
        report.load(path)


# --- chart -------------------------------------------------------------------


def bars(svg):
    """Loop to (x, width) of its bar."""
    return {
        rect.find(f"{SVG}title").text.split(":")[0]: (
            float(rect.get("x")),
            float(rect.get("width")),
        )
        for rect in ElementTree.fromstring(svg).iter(f"{SVG}rect")
        if rect.find(f"{SVG}title") is not None
    }


def test_chart_draws_losses_to_the_left_of_the_line():
    run = a_run(
        samples(CALLBACKS, "uvloop", 1000, 1000, 1000),
        samples(CALLBACKS, "asyncio", 500, 500, 500),
        samples(CALLBACKS, "rloop", 2000, 2000, 2000),
        loops=("uvloop", "asyncio", "rloop"),
    )
    drawn = bars(chart.render(run))
    one = chart.axis_for([0.5, 2.0]).x(1)
    assert sum(drawn["asyncio"]) == pytest.approx(one, abs=0.2)
    assert drawn["rloop"][0] == pytest.approx(one, abs=0.2)
    assert drawn["asyncio"][1] == pytest.approx(drawn["rloop"][1], abs=0.2)


def test_chart_names_failures_and_escapes_text():
    run = a_run(samples(CALLBACKS, "uvloop", 1000), samples(CALLBACKS, "asyncio", None))
    run.machine["cpu"] = "<CPU & co>"
    texts = [
        text.text
        for text in ElementTree.fromstring(chart.render(run)).iter(f"{SVG}text")
    ]
    assert "asyncio failed" in texts
    assert any("<CPU & co>" in text for text in texts)


def test_far_ratios_stay_on_the_chart():
    axis = chart.axis_for([0.001, 1000])
    assert axis.x(0.001) == chart.LEFT
    assert axis.x(1000) == pytest.approx(chart.WIDTH - chart.RIGHT)


# --- tools -------------------------------------------------------------------

WRK = """Running 1s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.05ms  331.12us   9.17ms   92.06%
    Req/Sec    31.37k     2.06k   33.15k    90.91%
  Latency Distribution
     50%    2.50ms
     75%    2.10ms
     90%  950.00us
     99%    1.20s
  34310 requests in 1.10s, 4.09MB read
Requests/sec:  31190.02
Transfer/sec:      3.72MB
"""


def test_wrk_is_read():
    assert tools.parse_wrk(WRK) == {
        "messages": 34310,
        "seconds": 1.1,
        "p50_us": 2500.0,
        "p90_us": 950.0,
        "p99_us": 1.2e6,
    }


@pytest.mark.parametrize(
    "line", ["Non-2xx or 3xx responses: 7", "Socket errors: connect 0, read 3"]
)
def test_wrk_with_errors_is_no_result(line):
    with pytest.raises(tools.ToolError, match=line):
        tools.parse_wrk(WRK + line)


def test_missing_tool_is_named():
    with pytest.raises(tools.ToolError, match="no-such-tool is not installed"):
        tools.run_tool(["no-such-tool"], 1)


def test_websocket_frame_is_what_the_protocol_says(tmp_path):
    files = tools.websocket_files(tmp_path, 1024)
    frame = files["request"].read_bytes()
    assert frame[:4] == b"\x82\xfe\x04\x00"
    assert len(frame) == 8 + 1024
    assert files["response"] == 4 + 1024


# --- cells -------------------------------------------------------------------


def quick_conditions(**other):
    return cell.Conditions(seconds=0.02, warmup=0.01, scale=0.01, **other)


@pytest.fixture
def child_runs(monkeypatch):
    """Let the child process be a Python text of the test's."""

    def patch(text):
        monkeypatch.setattr(cell, "_command", lambda *_: [sys.executable, "-c", text])

    return patch


def test_cell_in_process():
    sample = cell.measure(CALLBACKS, "asyncio", 4, quick_conditions())
    assert (sample.error, sample.round) == (None, 4)
    assert sample.value > 0
    assert sample.cpu_us > 0
    assert sample.details["operations"] % 2000 == 0


def test_two_loops_on_two_threads():
    row = workloads.WORKLOADS["loops-2"]
    sample = cell.measure(row, "asyncio", 0, quick_conditions(gc=False))
    assert sample.error is None
    assert len(sample.details["passes"]) == 2
    assert sample.value > 0


def test_probe_tells_the_version():
    assert cli.probe_loops(["asyncio"]) == ({"asyncio": "stdlib"}, {})


def test_crash_is_recorded(child_runs):
    child_runs("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert cell.measure(CALLBACKS, "asyncio", 0, quick_conditions()).error == (
        "killed by SIGSEGV"
    )


def test_exception_is_recorded_by_its_last_line(child_runs):
    child_runs("raise RuntimeError('no ring')")
    sample = cell.measure(ECHO, "asyncio", 0, quick_conditions())
    assert (sample.value, sample.error) == (None, "RuntimeError: no ring")


def test_loop_that_does_not_import_is_absent(child_runs):
    child_runs("import no_such_module")
    present, absent = cli.probe_loops(["asyncio"])
    assert present == {}
    assert absent["asyncio"].startswith("ModuleNotFoundError")


def test_hang_is_bounded_and_recorded(child_runs, monkeypatch):
    child_runs("import time; time.sleep(60)")
    monkeypatch.setattr(cell, "START_SECONDS", 0.1)
    start = time.monotonic()
    sample = cell.measure(ECHO, "asyncio", 0, quick_conditions())
    assert sample.error.startswith("no answer within")
    assert time.monotonic() - start < 20


def test_missing_client_is_recorded():
    sample = cell.measure(
        ECHO, "asyncio", 0, quick_conditions(client=Path("no-client"))
    )
    assert sample.error == "no-client is not installed"


@needs_compiler
@pytest.mark.parametrize(
    "name", ["echo-streams-1k-3", "echo-sock-1k-3", "accept", "udp", "unix", "bulk-in"]
)
def test_cell_with_a_server(name):
    conditions = cell.Conditions(seconds=0.15, warmup=0.05, client=tools.build_client())
    sample = cell.measure(workloads.WORKLOADS[name], "asyncio", 0, conditions)
    assert sample.error is None
    assert sample.value > 0
    assert sample.cpu_us > 0
    if name != "bulk-in":
        assert 0 < sample.p50_us <= sample.p99_us <= sample.details["max_us"] * 1.04


@needs_compiler
def test_open_loop_keeps_its_absolute_rate():
    row = workloads.WORKLOADS["open-loop"]
    conditions = cell.Conditions(
        seconds=0.2, warmup=0.05, client=tools.build_client(), rate=500
    )
    sample = cell.measure(row, "asyncio", 0, conditions)
    assert sample.error is None
    assert sample.value == sample.details["slice_p99_us"]
    assert sample.client_late_us is not None
    # 100, and what was due in the warm-up and came late
    assert 1 <= sample.details["messages"] <= 130


@needs_compiler
def test_server_that_dies_under_load_is_recorded(child_runs):
    child_runs(
        "import json, os, socket, time\n"
        "s = socket.create_server(('127.0.0.1', 0))\n"
        "print(json.dumps({'address': s.getsockname()[1], 'backend': None}),"
        " flush=True)\n"
        "s.accept()\n"
        "os._exit(7)\n"
    )
    conditions = quick_conditions(client=tools.build_client())
    assert cell.measure(ECHO, "asyncio", 0, conditions).error == "exit status 7"


# --- command line ------------------------------------------------------------


def test_command_line_writes_table_json_and_chart(tmp_path, capsys):
    out = tmp_path / "out"
    arguments = "--loops asyncio,zuvloop --workloads callbacks --rounds 2 --quick"
    assert cli.main([*arguments.split(), "--seconds", "0.01", "--out", str(out)]) == 0
    table = (out / "results.md").read_text()
    assert "| callbacks |" in table
    assert "| callbacks |" in capsys.readouterr().out
    data = json.loads((out / "results.json").read_text())
    assert [sample["round"] for sample in data["samples"]][-1] == 1
    assert data["machine"]["python"] in table
    ElementTree.parse(out / "results.svg")
    assert cli.main(["--from", str(out / "results.json")]) == 0


@pytest.mark.parametrize(
    "arguments",
    [["--workloads", "nothing"], ["--loops", "nothing"], ["--rounds", "-1"]],
)
def test_bad_arguments_end_with_a_sentence(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    assert "error:" in capsys.readouterr().err


def test_list_names_all_rows(capsys):
    assert cli.main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in workloads.WORKLOADS)


def test_a_sweep_compares_with_the_first_value():
    def line(name, *numbers):
        pairs = zip(("0", "50"), numbers, strict=True)
        samples = {
            value: [Sample(name, "x", 0, number, cpu_us=4.0 / number)]
            for value, number in pairs
        }
        return sweep.Line(workloads.WORKLOADS[name], "x", samples)

    lines = [line("unix", 2.0, 3.0), line("open-loop", 2.0, 4.0)]
    lines[1].samples["50"][0].value = None
    lines.append(line("open-loop", 2.0, 4.0))
    text = sweep.table(lines, "V", ["0", "50"])
    assert "| unix | x | 2, 2.00 µs | 1.50 (1.50..1.50), CPU 1.50" in text
    assert "| open-loop | x | 2, 2.00 µs | failed |" in text
    assert "| 0.50 (0.50..0.50), CPU 2.00" in text
    with sweep.variable_set("SWEEP_TEST", "7"):
        assert os.environ["SWEEP_TEST"] == "7"
    assert "SWEEP_TEST" not in os.environ
