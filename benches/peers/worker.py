"""The protocol of rust/src/lib.rs: one line of JSON when warm; then for each line of input, a number of steps, one line
with their mean time and the peak of resident memory. Between its answers a worker sleeps."""

import json
import resource
import sys
import time

WARM_UP = 3


def serve(about, step):
    for _ in range(WARM_UP):
        step()
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        steps = int(line)
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(steps):
            step()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        print(json.dumps({"cpu_ms": cpu * 1e3 / steps, "wall_ms": wall * 1e3 / steps, "rss_mib": rss}), flush=True)
