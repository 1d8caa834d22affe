# SPDX-License-Identifier: Apache-2.0
"""As much of OpenTelemetry's SDK as examples/opentelemetry_metrics.py uses, for
where that is not installed: install() makes it importable."""

import sys
from types import ModuleType


class Observation:
    def __init__(self, value, attributes=None):
        self.value, self.attributes = value, attributes or {}


class Meter:
    def __init__(self):
        self.instruments = []

    def _create(self, name, callbacks=(), unit="", description=""):
        self.instruments.append((name, callbacks))

    create_observable_counter = create_observable_gauge = _create


class ConsoleMetricExporter:
    def export(self, name, observation):
        print(name, observation.attributes, observation.value)


class PeriodicExportingMetricReader:
    def __init__(self, exporter, export_interval_millis=60_000):
        self.exporter = exporter


class MeterProvider:
    def __init__(self, metric_readers):
        self.readers, self.meter = metric_readers, Meter()

    def shutdown(self):
        for reader in self.readers:
            for name, callbacks in self.meter.instruments:
                for callback in callbacks:
                    for observation in callback(None):
                        reader.exporter.export(name, observation)


def install():
    names = ("opentelemetry", "opentelemetry.metrics", "opentelemetry.sdk",
             "opentelemetry.sdk.metrics", "opentelemetry.sdk.metrics.export")
    top, metrics, _, sdk, export = (
        sys.modules.setdefault(name, ModuleType(name)) for name in names)
    providers = []
    top.metrics = metrics
    metrics.Observation = Observation
    metrics.set_meter_provider = providers.append
    metrics.get_meter = lambda name: providers[-1].meter
    sdk.MeterProvider = MeterProvider
    export.ConsoleMetricExporter = ConsoleMetricExporter
    export.PeriodicExportingMetricReader = PeriodicExportingMetricReader
