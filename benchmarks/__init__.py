# SPDX-License-Identifier: Apache-2.0
"""Event loops side by side; docs/benchmarks.md tells how to run and read it."""
