#!/usr/bin/env python3
"""`bantam bench` beside onnxruntime, OpenVINO and PyTorch, on the same networks with the same weights.

    bench-engines.py [NETWORK ...] [--batch 1,64] [--threads 1] [--int8] [--rounds 5] [--seconds 0.4]
                     [--bantam PROGRAM] [--folder FOLDER] [--json FILE]

Networks are defined in bench_networks.py and written to FOLDER as ONNX by PyTorch, once. Engines that are
not installed are left out with a word. Each engine has a process of its own that is opened once for
a network, batch and number of threads; then they take turns, a round being SECONDS of calls of each
(`bantam bench` is a new process every round, its kernels are timed before the first). The table goes
to stdout.

Columns: time of a call in ms by the wall, median over rounds of each round's median, and least of all
calls; CPU, time of all threads of the process, median over rounds of each round's mean. `ratio` is that over
the least of the rivals. `load`: from file to ready to run. `peak`: of bantam the largest memory of the process;
of the others what was added after Python and the engine were loaded.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

RIVALS = ["onnxruntime", "openvino", "pytorch"]


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("networks", nargs="*")
    args.add_argument("--batch", default="1,64")
    args.add_argument("--threads", default="1")
    args.add_argument("--int8", action="store_true", help="static int8 as well, by onnxruntime")
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--seconds", type=float, default=0.4)
    args.add_argument("--bantam", default="target/release/bantam")
    args.add_argument("--folder", type=Path, default=Path("data/cache/bench"))
    args.add_argument("--json", type=Path, help="write all rounds to a file")
    args.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    args = args.parse_args()
    if args.worker:
        return worker(*args.worker)
    import bench_networks as nets

    names = args.networks or list(nets.NETWORKS)
    unknown = [n for n in names if n not in nets.NETWORKS]
    if unknown:
        sys.exit(f"error: unknown network {unknown[0]}: expected some of {', '.join(nets.NETWORKS)}")
    rivals = [r for r in RIVALS if version(r)]
    for missing in set(RIVALS) - set(rivals):
        say(f"{missing} is not installed: left out")
    args.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for threads in numbers(args.threads):
        for name in names:
            for path, int8 in files(args, nets, name, rivals):
                for batch in numbers(args.batch):
                    rows += compare(args, name, path, int8, batch, threads, rivals)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    print(heading(args, rivals))
    print(table(rows))


def numbers(text):
    return [int(n) for n in text.split(",")]


def say(text):
    print(text, file=sys.stderr, flush=True)


def version(package):
    from importlib import metadata

    try:
        return metadata.version({"pytorch": "torch"}.get(package, package))
    except metadata.PackageNotFoundError:
        return None


def files(args, nets, name, rivals):
    """The ONNX files of a network, and whether they are int8; written when they are not there."""
    path = args.folder / f"{name}.onnx"
    if not path.exists():
        nets.write_onnx(name, str(path))
    yield path, False
    if not args.int8:
        return
    if "onnxruntime" not in rivals:
        say("int8 networks are made by onnxruntime, which is not installed: left out")
        return
    path8 = args.folder / f"{name}.int8.onnx"
    if not path8.exists():
        nets.write_int8(name, str(path), str(path8))
    yield path8, True


def compare(args, name, path, int8, batch, threads, rivals):
    """Rounds of all engines on one network, batch and number of threads."""
    say(f"{path.name}, batch {batch}, {threads} threads")
    engines = [Bantam(args, name, path, int8, batch, threads)]
    engines += [
        Rival(rival, path, batch, threads) for rival in rivals if not (int8 and rival == "pytorch")
    ]
    engines = [e for e in engines if e.ready]
    rounds = {e.name: [] for e in engines}
    for i in range(args.rounds):
        # Who was first is last the next time.
        for engine in engines if i % 2 == 0 else reversed(engines):
            rounds[engine.name].append(engine.round(args.seconds))
    rows = []
    for engine in engines:
        of = [r for r in rounds[engine.name] if r]
        if len(of) < args.rounds:
            say(f"{engine.name} ended on {path.name}: left out")
            continue
        row = {"network": name, "int8": int8, "batch": batch, "threads": threads}
        row |= {"engine": engine.name, "load": engine.load, "peak": engine.peak, "note": engine.note}
        row |= {"median": statistics.median(r["median"] for r in of)}
        row |= {"least": min(r["least"] for r in of)}
        row |= {"cpu": statistics.median(r["cpu"] for r in of), "rounds": of}
        rows.append(row)
        engine.close()
    for key in ("median", "least", "cpu"):
        best = min((r[key] for r in rows if r["engine"] != "bantam"), default=None)
        for row in rows:
            row[f"{key} ratio"] = row[key] / best if best else None
    return rows


class Bantam:
    """A new process every round; the ONNX file where the program opens it, else random weights."""

    name = "bantam"

    def __init__(self, args, name, path, int8, batch, threads):
        self.command = [args.bantam, "bench", "--json", "--quiet", "--batch", str(batch)]
        self.command += ["--threads", str(threads)]
        self.ready, self.note = True, ""
        first = self.run([str(path)], 0.01)
        self.model = [str(path)]
        error = self.error
        if first is None and not int8:
            self.model, self.note = ["--arch", name], "random weights of its own"
            first = self.run(self.model, 0.01)
        if first is None:
            say(f"bantam does not measure {path.name}: {error.splitlines()[0]}")
            self.ready = False
            return
        # The second time kernels are known.
        first = self.run(self.model, 0.01)
        opened = first["models"][0]["open_seconds"] or 0.0
        self.load = opened + first["runs"][0]["plan_seconds"]
        self.peak = first["peak_memory_bytes"]

    def run(self, model, seconds):
        command = [*self.command, *model, "--seconds", str(seconds)]
        ran = subprocess.run(command, capture_output=True, text=True)
        self.error = ran.stderr.strip()
        return json.loads(ran.stdout) if ran.returncode == 0 else None

    def round(self, seconds):
        ran = self.run(self.model, seconds)
        if ran is None:
            say(f"bantam failed: {self.error}")
            return None
        run = ran["runs"][0]
        return {
            "median": run["median_seconds"],
            "least": run["min_seconds"],
            "cpu": run["processor_seconds"] or float("nan"),
        }

    def close(self):
        pass


class Rival:
    """A worker process that answers `SECONDS` with the times of a round."""

    def __init__(self, name, path, batch, threads):
        self.name, self.note = name, ""
        command = [sys.executable, __file__, "--worker", name, str(path), str(batch), str(threads)]
        env = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env
        )
        opened = self.process.stdout.readline()
        self.ready = bool(opened)
        if not self.ready:
            error = self.process.stderr.read().strip().splitlines()
            say(f"{name} does not run {path.name}: {error[-1] if error else 'it ended'}")
            return
        opened = json.loads(opened)
        self.load, self.peak = opened["load"], opened["peak"]

    def round(self, seconds):
        """None when the process has ended."""
        try:
            print(seconds, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            return None
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def worker(engine, path, batch, threads):
    """Opens the network, then answers each line on stdin with the times of a round."""
    call = OPEN[engine](Path(path), int(batch), int(threads))
    for line in sys.stdin:
        seconds, times = float(line), []
        cpu, start = time.process_time(), time.perf_counter()
        before = start
        while not times or before - start < seconds:
            call()
            now = time.perf_counter()
            times.append(now - before)
            before = now
        cpu = (time.process_time() - cpu) / len(times)
        answer({"median": statistics.median(times), "least": min(times), "cpu": cpu})


def answer(value):
    print(json.dumps(value), flush=True)


def memory(field):
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next(int(l.split()[1]) * 1024 for l in text.splitlines() if l.startswith(field))


KEPT = []


def opened(make, name, shape, batch):
    """Makes the call and makes it twice, and tells what that took."""
    import numpy as np

    rng = np.random.default_rng(1)
    if name.startswith("encoder"):
        x = rng.integers(0, 1000, (batch, *shape))
    else:
        x = rng.uniform(-1, 1, (batch, *shape)).astype(np.float32)
    before, start = memory("VmRSS:"), time.perf_counter()
    call = make(x)
    load = time.perf_counter() - start
    # The engines read the array where it lies: it must stay.
    KEPT.append(x)
    call()
    call()
    answer({"load": load, "peak": memory("VmHWM:") - before})
    return call


def sample_shape(path):
    name = path.name.split(".")[0]
    shapes = {"lenet-300-100": [1, 28, 28], "lenet-5-caffe": [1, 28, 28]}
    shapes |= {"resnet20-cifar": [3, 32, 32], "encoder-4x256": [128]}
    return name, shapes.get(name, [3, 224, 224])


def onnxruntime(path, batch, threads):
    import onnxruntime as ort

    def make(x):
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        # Inputs and outputs stay where they are, so that Python adds as little as it can.
        binding = session.io_binding()
        binding.bind_cpu_input("x", x)
        binding.bind_output("y", "cpu")
        return lambda: session.run_with_iobinding(binding)

    return opened(make, *sample_shape(path), batch)


def openvino(path, batch, threads):
    import openvino as ov

    def make(x):
        core = ov.Core()
        model = core.read_model(str(path))
        model.reshape(x.shape)
        settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        settings |= {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        request.set_input_tensor(ov.Tensor(x, shared_memory=True))

        def call():
            request.start_async()
            request.wait()

        return call

    return opened(make, *sample_shape(path), batch)


def pytorch(path, batch, threads):
    import torch

    import bench_networks as nets

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    name, shape = sample_shape(path)

    def make(x):
        module, x = nets.build(name)[0], torch.from_numpy(x)
        if len(shape) == 3:
            module = module.to(memory_format=torch.channels_last)
            x = x.to(memory_format=torch.channels_last)

        def call():
            with torch.inference_mode():
                module(x)

        return call

    return opened(make, name, shape, batch)


OPEN = {"onnxruntime": onnxruntime, "openvino": openvino, "pytorch": pytorch}


def heading(args, rivals):
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(l.split(":", 1)[1].strip() for l in lines if l.startswith("model name"))
    except (OSError, StopIteration):
        pass
    bantam = subprocess.run([args.bantam, "--version"], capture_output=True, text=True).stdout.strip()
    versions = ", ".join([bantam] + [f"{r} {version(r)}" for r in rivals])
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    return (
        f"{cpu}, {os.cpu_count()} cores, {platform.system()}; load averages at the end {load}.\n"
        f"{versions}. {args.rounds} rounds of {args.seconds} s.\n"
    )


def table(rows):
    head = "| network | type | batch | threads | engine | median | ratio | least | ratio | CPU | ratio "
    head += "| load | peak |\n" + "| --- " * 13 + "|\n"
    lines, last = [], None
    for r in rows:
        key = (r["network"], r["int8"], r["batch"], r["threads"])
        names = [r["network"], "int8" if r["int8"] else "f32", r["batch"], r["threads"]]
        cells = names if key != last else [""] * 4
        last = key
        cells = [*cells, r["engine"] + ("*" if r["note"] else "")]
        for part in ("median", "least", "cpu"):
            ratio = r[f"{part} ratio"]
            cells += [ms(r[part]), "" if ratio is None else f"{ratio:.2f}"]
        cells += [f"{r['load'] * 1e3:.0f} ms", f"{r['peak'] / 1e6:.0f} MB"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    notes = sorted({r["note"] for r in rows if r["note"]})
    return head + "\n".join(lines) + "".join(f"\n\n\\* {note}" for note in notes)


def ms(seconds):
    value = seconds * 1e3
    return f"{value:.4f}" if value < 1 else f"{value:.4g}" if value < 1000 else f"{value:.0f}"


if __name__ == "__main__":
    main()
