"""Runs this crate and its peers in turn, and prints the ratios: `python compare.py --threads 1 --model latents`.

Every peer is a process of its own that sleeps until it is asked for a step; the rounds go A, B, C, A, B, C, ..., so
that all see the same noise. Times are CPU time with one thread and wall time with more; a ratio is a peer's median
over ours. PyTorch runs under the interpreter that runs this; README.md says how to get it.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ASSETS = HERE.parent.parent / "assets"
MODELS = {
    "garments": ASSETS / "fashion-mnist-ddpm",
    "latents": ASSETS / "fashion-mnist-latent" / "unet",
    "painting-latents": ASSETS / "paintings-latent" / "unet",
    "autoencoder": ASSETS / "fashion-mnist-latent" / "vae",
}
SUITES = {
    "train": [("train", 64)],
    "reverse": [("reverse", 1), ("reverse", 16), ("reverse", 64)],
    "conv": [("conv", 64)],
}
ROUNDS = {"train": 9, "reverse": 15, "conv": 9}


class Peer:
    """A worker process and what it has answered."""

    def __init__(self, name, command, threads):
        environment = dict(os.environ, RAYON_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
        self.name, self.answers = name, []
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.about = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} has ended; its message stands above")
        return json.loads(line)

    def measure(self, steps):
        print(steps, file=self.process.stdin, flush=True)
        self.answers.append(self.answer())

    def times(self, clock):
        return [answer[clock] for answer in self.answers]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def build(conv):
    """Builds our side (and with `conv` the other Rust libraries), and returns where the programs lie."""
    command = ["cargo", "build", "--release", "--manifest-path", HERE / "rust" / "Cargo.toml"]
    command += ["--features", "conv"] if conv else []
    subprocess.run([str(part) for part in command], check=True)
    target = os.environ.get("CARGO_TARGET_DIR", HERE / "rust" / "target")
    return pathlib.Path(target) / "release"


def peers(programs, model, work, batch, threads):
    """Names and commands; ours is the first."""
    if work == "conv":
        names = ["ddpm", "candle", "burn-flex", "burn-ndarray"]
        return [(name, [programs / "conv_peer", threads, name, 28, batch]) for name in names]
    layouts = ["nchw", "channels_last"] + (["compiled"] if work == "train" and model != "autoencoder" else [])
    torch = [
        (f"torch {layout}", [sys.executable, HERE / "torch_peer.py", threads, layout, MODELS[model], work, batch])
        for layout in layouts
    ]
    engines = ["onnxruntime", "openvino"] if work == "reverse" and model != "autoencoder" else []
    engines = [(engine, [sys.executable, HERE / "onnx_peer.py", threads, engine, MODELS[model], batch]) for engine in engines]
    return [("ddpm", [programs / "ddpm_peer", threads, MODELS[model], work, batch])] + torch + engines


def compare(programs, model, work, batch, threads, rounds):
    clock = "cpu_ms" if threads == 1 else "wall_ms"
    workers = [Peer(name, command, threads) for name, command in peers(programs, model, work, batch, threads)]
    # a step of a few milliseconds is repeated until the clock can read it
    workers[0].measure(1)
    steps = max(1, round(100 / workers[0].answers.pop()["wall_ms"]))
    for _ in range(rounds):
        for worker in workers:
            worker.measure(steps)
    rows = []
    ours = statistics.median(workers[0].times(clock))
    for worker in workers:
        times = worker.times(clock)
        median = statistics.median(times)
        rows.append({
            "model": model, "work": work, "batch": batch, "threads": threads, "clock": clock[:-3], "peer": worker.name,
            "ms": median, "ms_min": min(times), "ratio": median / ours,
            "rss_mib": max(answer["rss_mib"] or 0 for answer in worker.answers), "about": worker.about,
        })
        worker.close()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", choices=MODELS, default="garments")
    parser.add_argument("--work", default="train,reverse,conv", help="of train, reverse, conv")
    parser.add_argument("--quick", action="store_true", help="three rounds of each")
    parser.add_argument("--json", type=pathlib.Path, help="also write everything here")
    arguments = parser.parse_args()
    suites = [suite for work in arguments.work.split(",") for suite in SUITES[work]]
    programs = build(any(work == "conv" for work, _ in suites))

    print(f"{arguments.model}, {platform.machine()}, {arguments.threads} thread(s), {'CPU' if arguments.threads == 1 else 'wall'} time\n")
    print(f"{'work':8} {'batch':>5}  {'peer':20} {'ms':>9} {'ms min':>9} {'ratio':>6} {'RSS MiB':>8}")
    rows = []
    for work, batch in suites:
        for row in compare(programs, arguments.model, work, batch, arguments.threads, 3 if arguments.quick else ROUNDS[work]):
            print("{work:8} {batch:5}  {peer:20} {ms:9.2f} {ms_min:9.2f} {ratio:6.2f} {rss_mib:8.0f}".format(**row))
            rows.append(row)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


main()
