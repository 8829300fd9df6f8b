"""Memory that the C library keeps between steps, in a process of its own: the setting is the whole process's."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import numpy as np
from recbole_rlmrec.data import memory
if sys.argv[1] == "keep":
    memory.keep()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(12 << 20)
before = faults()
for _ in range(20):
    np.ones(12 << 20)  # 96 MB, as the table of a large data set
print(faults() - before)
if sys.argv[1] == "keep":
    size = lambda: int(open("/proc/self/statm").read().split()[1])
    kept = size()
    memory.give_back()
    print((kept - size()) * resource.getpagesize())
"""


def run(how: str) -> list[int]:
    ran = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True)
    return [int(line) for line in ran.stdout.split()]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is another than glibc")
def test_large_blocks_are_taken_up_again_and_given_back_when_asked():
    (asked,) = run("leave")
    faults, given_back = run("keep")
    assert asked > 20 * faults, "the system cleared the pages of each block anew"
    assert given_back > 90 << 20
