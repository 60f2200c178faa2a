from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

# Sends SIGTERM before each step of the interpreter inside of `wait`, one wait a step, and last while it blocks.
# A wait that misses the signal gets a second one from the timer, which kills. So the timer has to be slower than any machine.
EVERY_STEP = """
import itertools, os, signal, sys, threading
from servers.runtime.stop_signals import StopSignals

def stop():
    os.kill(os.getpid(), signal.SIGTERM)

for interrupted in itertools.count(1):
    signals, steps = StopSignals(), 0

    def trace(frame, event, argument):
        global steps
        frame.f_trace_opcodes = True
        if event == "opcode" and timer.is_alive():
            steps += 1
            if steps == interrupted:
                stop()
        return trace

    timer = threading.Timer(5, stop)
    timer.start()
    sys.settrace(trace)
    signals.wait()
    sys.settrace(None)
    is_blocked = steps < interrupted
    timer.cancel()
    timer.join()
    if is_blocked:
        break
print(steps)
"""


def test_a_signal_at_any_moment_of_the_wait_ends_it() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    waits = subprocess.run([sys.executable, "-c", EVERY_STEP], env=environment, capture_output=True, text=True, timeout=120)

    assert waits.returncode == 0, waits.stderr
    assert int(waits.stdout) > 5, "it was interrupted at steps of its own"
