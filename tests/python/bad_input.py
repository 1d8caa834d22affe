# SPDX-License-Identifier: Apache-2.0
"""The matrix of bad input: every public method of an asyncio class with each
way to call it wrongly, derived from its signature, so that none is missed.

What has to happen is not written down: asyncio's own object is asked. The type
of exception has to be the same, and its text where asyncio itself raises it.
"""

import asyncio
import inspect
import linecache
import os
import re

# ASan takes an allocation of this size for a fault of the program.
HUGE = 2 ** 70 if "ASAN_OPTIONS" in os.environ else 2 ** 40

ASYNCIO_FOLDER = os.path.dirname(asyncio.__file__)


def nothing(*args):
    pass


class Custom:
    """A class that no method knows."""

    def __repr__(self):
        return "Custom()"


WRONG = {
    "None": lambda: None,
    "object": Custom,
    "class": lambda: Custom,
    "function": lambda: nothing,
    "42": lambda: 42,
    "-1": lambda: -1,
    "2**40": lambda: HUGE,
    "-2**70": lambda: -2 ** 70,
    "1.5": lambda: 1.5,
    "True": lambda: True,
    "text": lambda: "text",
    "nul": lambda: "a\0b",
    "surrogate": lambda: "\udc80",
    "bytes": lambda: b"bytes",
    "list": list,
    "tuple": lambda: ("x",),
    "dict": dict,
}


class Call:
    """One way to call a method: arguments by name of parameter, or literal."""

    def __init__(self, name, shown, positional, keywords):
        self.name = name
        self.shown = shown
        self.positional = positional
        self.keywords = keywords

    def __repr__(self):
        return f"{self.name}({self.shown})"

    def arguments(self, valid):
        """valid(name, parameter) makes a proper argument."""
        def make(what):
            return what() if callable(what) else valid(self.name, what)
        return ([make(what) for what in self.positional],
                {key: make(what) for key, what in self.keywords.items()})


def public_names(kind):
    """What a class of asyncio offers, the operators that it defines too."""
    names = [name for name in dir(kind) if not name.startswith("_")]
    names += [name for name, value in vars(kind).items()
              if name.startswith("__") and inspect.isfunction(value)
              and name not in ("__init__", "__del__", "__getattr__")]
    return sorted({name for name in names if callable(getattr(kind, name))})


def calls_of(kind, name, *, only_valid=False):
    parameters = list(
        inspect.signature(getattr(kind, name)).parameters.values())[1:]
    leading = [p.name for p in parameters if p.kind in (
        p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p.name for p in parameters if p.default is p.empty
                and p.name in leading]
    keywords = [p.name for p in parameters if p.kind == p.KEYWORD_ONLY]
    starred = any(p.kind == p.VAR_POSITIONAL for p in parameters)
    yield Call(name, "as it should be", required, {})
    if only_valid:
        return
    for count in range(len(required)):
        yield Call(name, f"only {count}", required[:count], {})
    yield Call(name, "all by position", leading, {})
    if not starred:
        yield Call(name, "one too many", [*leading, nothing_at_all], {})
    yield Call(name, "all by keyword", [], {p: p for p in leading + keywords})
    yield Call(name, "unknown keyword", required, {"unknown": nothing_at_all})
    if required:
        yield Call(name, "first one twice", required,
                   {required[0]: required[0]})
    for wrong, make in WRONG.items():
        for place, parameter in enumerate(leading):
            positional = leading[:max(place + 1, len(required))]
            positional[place] = make
            yield Call(name, f"{parameter}={wrong}", positional, {})
        for parameter in keywords:
            yield Call(name, f"{parameter}={wrong}", required,
                       {parameter: make})


def nothing_at_all():
    return None


# --- outcomes ----------------------------------------------------------------

def plain(text):
    text = re.sub(r"0x[0-9a-f]+|\bfd=\d+|\b\d{4,}\b", "N", text)
    text = re.sub(r"rsloop_c\.\w+(\.\w+)*", "asyncio", text)
    return re.sub(r"<(_UnixSelectorEventLoop|Loop|_SelectorSocketTransport|"
                  r"StreamTransport)\b", "<It", text)


def is_asyncios_own(exc):
    """Does the traceback end in a raise statement of asyncio's?"""
    trace = exc.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return (code.co_filename.startswith(ASYNCIO_FOLDER)
            and "raise " in linecache.getline(code.co_filename,
                                              trace.tb_lineno))


class Outcome:
    def __init__(self, value=None, exc=None):
        self.kind = type(exc) if exc is not None else "returned"
        self.text = None if exc is None else plain(str(exc))
        self.own = exc is not None and is_asyncios_own(exc)
        if exc is None and isinstance(value, (bool, int, str)):
            self.text = plain(repr(value))

    def __repr__(self):
        name = getattr(self.kind, "__name__", self.kind)
        return f"{name}({self.text!r})"

    def matches(self, theirs):
        """Is this what asyncio's was? Its asserts are no interface: any
        exception will do, and an AttributeError of its insides is met by
        one that says what is wrong."""
        if self.kind is not theirs.kind:
            return theirs.kind is AssertionError and self.kind != "returned"
        if theirs.own or theirs.kind == "returned":
            return self.text == theirs.text
        return True


def differences(calls, outcomes_of, known):
    """A line for each call whose outcome is not asyncio's; outcomes_of gives
    ours and theirs, known maps those that may be otherwise to the reason."""
    found = []
    for call in calls:
        ours, theirs = outcomes_of(call)
        if not ours.matches(theirs) and repr(call) not in known:
            found.append(f"{call!r}: {ours} in place of {theirs}")
    return found
