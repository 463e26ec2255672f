"""Memory is given back without changing what a process does."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

from quilt_memory import clean_code

SMAPS = """\
55d000-55e000 r--p 00000000 08:01 11 /usr/bin/python 3
Size:                  4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
55e000-560000 r-xp 00001000 08:01 11 /usr/bin/python 3
Size:                  8 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me sd
560000-561000 r--p 00003000 08:01 11 /usr/bin/python 3
Size:                  4 kB
Anonymous:             4 kB
VmFlags: rd mr mw me ac sd
561000-562000 rw-p 00004000 08:01 11 /usr/bin/python 3
Size:                  4 kB
Anonymous:             0 kB
562000-563000 r--p 00000000 08:01 12 /etc/ld.so.cache
Size:                  4 kB
Anonymous:             0 kB
563000-564000 r-xp 00000000 08:01 13 /usr/lib/patched.so
Size:                  4 kB
Anonymous:             4 kB
564000-565000 r--p 00001000 08:01 13 /usr/lib/patched.so
Size:                  4 kB
Anonymous:             0 kB
565000-566000 r-xp 00000000 00:00 0 [vdso]
Size:                  4 kB
Anonymous:             0 kB
"""


def test_only_unchanged_mappings_of_code_that_nobody_writes_are_given_back() -> None:
    assert list(clean_code(SMAPS)) == [(0x55D000, 0x55E000), (0x55E000, 0x560000)]


def test_a_process_that_gave_its_code_back_holds_less_and_works_as_before() -> None:
    script = """\
        import json, ssl, sqlite3, asyncio
        from pathlib import Path
        from quilt_memory import give_back

        def of_files():
            status = Path("/proc/self/status").read_text()
            return int(status.partition("RssFile:")[2].split()[0])

        def work():
            ssl.create_default_context()
            with sqlite3.connect(":memory:") as connection:
                found = connection.execute("select 6 * 7").fetchone()
            asyncio.run(asyncio.sleep(0))
            return json.dumps(found)

        before = work()
        held = of_files()

        async def until_less():
            giving = asyncio.create_task(give_back(soon=0))
            while of_files() / held > 0.7:
                await asyncio.sleep(0.01)
            giving.cancel()

        asyncio.run(until_less())
        print(work() == before)
    """
    done = subprocess.run([sys.executable, "-c", dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]
