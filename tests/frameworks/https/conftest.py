# SPDX-License-Identifier: Apache-2.0
"""HTTPS by aiohttp, httpx and uvicorn, on the loop that loop_plugin.py set."""

from coroutine_tests import pytest_pyfunc_call  # noqa: F401
