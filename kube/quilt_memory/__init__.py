"""Memory that a process gives back to the system: what was freed, and what only its start has read."""

from __future__ import annotations

import asyncio
import ctypes
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

# Seconds; and each so many times code too, as finding it costs 8 ms.
_PERIOD = 30.0
_CODE_EVERY = 10
_M_MMAP_THRESHOLD = -3  # malloc.h
_MADV_DONTNEED = 4  # linux/mman.h
_LIBC = ctypes.CDLL(None)
_LIBC.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
# A mapping of a file in proc(5)'s smaps that cannot be written and has no page but the file's.
_CLEAN = re.compile(
    r"^(\w+)-(\w+) r-([x-])p \S+ \S+ \d+ +(/.*)\n(?:\w+: .*\n)*?Anonymous: +0 kB$", re.MULTILINE
)


def give_back_large() -> None:
    """Have what is large given back whenever it is freed; the soak finds 4 MB of holes without this."""
    _LIBC.mallopt(_M_MMAP_THRESHOLD, 128 << 10)


async def give_back(soon: float = 10.0) -> None:
    """Give memory back `soon` seconds after the start, when it has done its work, and then now and then.

    What was freed: what calls leave between long-lived objects adds up. And, less often, code that was read.
    """
    await asyncio.sleep(soon)
    for number in count():
        _LIBC.malloc_trim(0)
        if number % _CODE_EVERY == 0:
            give_back_code()
        await asyncio.sleep(_PERIOD)


def give_back_code() -> None:
    """Give back the pages of programs and libraries that were read; what is still needed comes back.

    A start reads twice what a process at rest does (decision 47). The pages are the files' own: what is
    asked for again is mapped from the system's page cache, in about a microsecond for sixteen.
    """
    with suppress(OSError):  # a kernel without smaps: nothing is given back
        for begin, end in clean_code(Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace")):
            _LIBC.madvise(begin, end - begin, _MADV_DONTNEED)


def clean_code(smaps: str) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each unchanged read-only mapping of a file that is mapped as code too.

    Other files are left alone, as a thread could unmap one meanwhile and have memory of its own there.
    """
    found = [match.groups() for match in _CLEAN.finditer(smaps)]
    code = {path for _, _, executable, path in found if executable == "x"}
    for begin, end, _, path in found:
        if path in code:
            yield int(begin, 16), int(end, 16)
