# SPDX-License-Identifier: Apache-2.0
"""A loop's figures through OpenTelemetry, by your own SDK and exporter.

    pip install opentelemetry-sdk
    python examples/opentelemetry_metrics.py

Loop.stats() takes no lock and may be called on any thread, so the SDK's own
reader thread asks, also while the loop is stuck.
"""

import asyncio
from functools import partial

from opentelemetry import metrics
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    PeriodicExportingMetricReader,
)

import rsloop_c

COUNTERS = ("turns", "slow_turns", "callbacks", "bytes_read", "bytes_written")
GAUGES = ("connections", "ready", "timers", "write_backlog")


def observe(loop, name, _options):
    yield Observation(loop.stats()[name])


def observe_turns(loop, name, _options):
    yield Observation(loop.stats()["lag"][name])


def observe_buckets(loop, _options):
    for bound, count in loop.stats()["lag"]["buckets"].items():
        yield Observation(count, {"le": str(bound)})


def export(loop, meter):
    """Let `meter` ask `loop` whenever its reader collects."""
    for name in COUNTERS:
        meter.create_observable_counter(
            f"rsloop_c.{name}", callbacks=[partial(observe, loop, name)]
        )
    for name in GAUGES:
        meter.create_observable_gauge(
            f"rsloop_c.{name}", callbacks=[partial(observe, loop, name)]
        )
    meter.create_observable_counter(
        "rsloop_c.turn.time", unit="s", callbacks=[partial(observe_turns, loop, "sum")]
    )
    meter.create_observable_gauge(
        "rsloop_c.turn.now", unit="s", callbacks=[partial(observe_turns, loop, "now")]
    )
    # There is no observable histogram: its buckets are a counter with a label.
    meter.create_observable_counter(
        "rsloop_c.turn.buckets", callbacks=[partial(observe_buckets, loop)]
    )


async def main():
    # Here as well OTLPMetricExporter(), to send them to a collector.
    reader = PeriodicExportingMetricReader(
        ConsoleMetricExporter(), export_interval_millis=60_000
    )
    provider = MeterProvider(metric_readers=[reader])
    metrics.set_meter_provider(provider)
    export(asyncio.get_running_loop(), metrics.get_meter("rsloop_c"))
    for _ in range(1000):
        await asyncio.sleep(0)
    # The last collection is made here, on another thread than the loop's.
    await asyncio.to_thread(provider.shutdown)


rsloop_c.run(main())
