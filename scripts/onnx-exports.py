#!/usr/bin/env python3
"""Exports real networks with the command and runs them with onnxruntime beside it.

usage: scripts/onnx-exports.py [BANTAM] [CHECKPOINT of ResNet-20]

Needs numpy and onnxruntime, and does nothing but say so where they are missing; networks that are not
there are named and left out. Every line is a network: the largest difference of an output, as a share of
its largest value. More than 1e-4 is an error. What is checked:

- networks of the cache (scripts/fetch-onnx-cases.sh, scripts/onnx-reference.py), run by the command on
  real inputs, against onnxruntime on the same file; Silero with its state carried over 100 steps;
- the same networks exported again, in onnxruntime, against the original there; and the dump of what was
  exported, which must be that of the original to the letter;
- EfficientNet-Lite0 from its checkpoint on enlarged pictures of CIFAR-10, exported, beside the command;
- ResNet-20 in bytes, as `bantam shrink` makes it, on pictures of CIFAR-10: onnxruntime computes in floats
  here, where a sum that lies on the edge between two bytes may fall to the other side, so that what is asked
  is 1e-4 for most pictures and the same class for all;
- MiniLM-L6 from its checkpoint, in floats, on the inputs stored for the file with int8 weights, two sentences of
  different lengths, exported, beside the command; how far that file's hidden states are from these is printed;
- ResNet-20 from its checkpoint, every known architecture with fresh weights, and a pruned and
  quantized network grown on the Titanic table, exported and run by onnxruntime, against the command.
"""

import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnxruntime as ort
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(0)

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
CACHE = ROOT / "data/cache/onnx"
BOUND = 1e-4
failed = []


def read_pb(path):
    """The array of a TensorProto as scripts/onnx-reference.py writes it."""
    import importlib

    return importlib.import_module("onnx-reference").read(path)


def bantam(*args):
    done = subprocess.run([BANTAM, *map(str, args)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"bantam {' '.join(map(str, args))}: {done.stderr.strip()}")
    return done.stdout


def session(path, level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def report(what, found, expected):
    """Compares lists of arrays, each by its own largest value."""
    worst = 0.0
    for f, e in zip(found, expected, strict=True):
        f, e = np.asarray(f, np.float64), np.asarray(e, np.float64)
        if f.shape != e.shape:
            failed.append(what)
            print(f"{what}: shapes {f.shape} and {e.shape} FAILED")
            return
        worst = max(worst, np.abs(f - e).max(initial=0) / max(np.abs(e).max(initial=0), 1e-30))
    good = worst <= BOUND
    print(f"{what}: {worst:.1e}{'' if good else ' FAILED'}", flush=True)
    if not good:
        failed.append(what)


def same_dump(what, a, b):
    good = bantam("inspect", a, "--dump") == bantam("inspect", b, "--dump")
    print(f"{what}: {'the same dump' if good else 'another dump FAILED'}", flush=True)
    if not good:
        failed.append(what)


def steps(name):
    """Feeds of every step of the stored real inputs, by name."""
    folder = CACHE / "reference" / name
    for step in sorted(folder.glob("step-*")):
        yield [read_pb(p) for p in sorted(step.glob("input_*.pb"))]


def cached(work):
    files = [CACHE / "magika/model.onnx", CACHE / "minilm/model.onnx"]
    files += sorted((CACHE / "silero/data").glob("*.onnx"))
    for file in files:
        name = file.parent.name if file.stem == "model" else file.stem
        all_steps = list(steps(name)) if file.exists() else []
        if not all_steps:
            print(f"skipped: {name} is not in data/cache/onnx")
            continue
        original = session(file)
        again = work / f"{name}.onnx"
        bantam("export", file, "--to", "onnx", "-o", again)
        packed = work / f"{name}.bantam"
        bantam("export", file, "--to", "bantam", "-o", packed)
        same_dump(f"{name}, exported", file, again)
        same_dump(f"{name}, packed", file, packed)
        exported = session(again)
        names = [i.name for i in original.get_inputs()]
        outputs = [o.name for o in original.get_outputs()]
        state = "state" in names and "stateN" in outputs
        if state:
            stateful(name, file, original, exported, all_steps, names, outputs, work)
            continue
        ours, theirs, back = [], [], []
        for feeds in all_steps:
            feed = dict(zip(names, feeds))
            np.savez(work / "in.npz", **feed)
            bantam("run", file, work / "in.npz", "-o", work / "out.npz", "--raw")
            out = np.load(work / "out.npz")
            ours += [out[o] for o in outputs]
            theirs += original.run(outputs, feed)
            back += exported.run(outputs, feed)
        report(f"{name}, run on {len(all_steps)} inputs", ours, theirs)
        report(f"{name}, exported, in onnxruntime", back, theirs)


def stateful(name, file, original, exported, all_steps, names, outputs, work):
    """The state is carried by the command, and by onnxruntime, over all steps."""
    first = dict(zip(names, all_steps[0]))
    sequence = {n: np.stack([s[names.index(n)] for s in all_steps]) for n in ["input"]}
    fixed = {n: first[n] for n in names if n not in ("input", "state")}
    np.savez(work / "in.npz", state=first["state"], **sequence, **fixed)
    bantam("run", file, work / "in.npz", "-o", work / "out.npz", "--state", "state=stateN")
    found = np.load(work / "out.npz")
    results = []
    for s in [original, exported]:
        state, rest = first["state"], []
        for step in all_steps:
            feed = dict(zip(names, step)) | {"state": state}
            out = dict(zip(outputs, s.run(outputs, feed)))
            state = out["stateN"]
            rest.append(out["output"])
        results.append([np.stack(rest), state])
    n = len(all_steps)
    report(f"{name}, run over {n} steps", [found["output"], found["state"]], results[0])
    report(f"{name}, exported, in onnxruntime", results[1], results[0])


def noise(shape):
    return np.random.default_rng(7).standard_normal(shape, np.float32)


def beside(what, model, x, work, arch=()):
    """A network exported and run by onnxruntime, and run by the command, on the same inputs: an array for the
    only one, or arrays by name."""
    bantam("export", model, *arch, "--to", "onnx", "-o", work / "x.onnx")
    s = session(work / "x.onnx")
    feeds = x if isinstance(x, dict) else {s.get_inputs()[0].name: x}
    np.savez(work / "x.npz", **feeds)
    bantam("run", model, work / "x.npz", *arch, "--raw", "-o", work / "y.npz")
    outputs = [o.name for o in s.get_outputs()]
    found = s.run(outputs, feeds)
    ops = subprocess.run(
        [BANTAM, "inspect", work / "x.onnx"], capture_output=True, text=True
    ).stdout.splitlines()
    listed = [line.split("file", 1)[1].strip() for line in ops if line.startswith("in the file")]
    ours = np.load(work / "y.npz")
    report(what, found, [ours[o] for o in outputs])
    return listed


def drawn(lines):
    """Arrays for the inputs that `inspect` lists: noise, or zeros and ones for integers."""
    feeds = {}
    for line in lines:
        if line.startswith("in ") and "[" in line:
            name, _, rest = line[3:].strip().partition(": ")
            kind, _, dims = rest.partition(" [")
            sizes = {"n": 2, "words": 7}
            shape = [sizes[d] if d in sizes else int(d) for d in dims.rstrip("]").split(", ")]
            bits = np.random.default_rng(7).integers(0, 2, shape)
            # The first word of a text is always one.
            bits[:, 0] = 1
            feeds[name] = noise(shape) if kind == "f32" else bits
    return feeds


def pictures(n):
    """Test images of CIFAR-10 in [0, 1], or none."""
    path = ROOT / "data/cache/cifar10/test_batch.bin"
    if not path.exists():
        print(f"skipped: {path.relative_to(ROOT)} is not there")
        return None
    rows = np.fromfile(path, np.uint8).reshape(-1, 3073)[:n, 1:]
    return rows.reshape(-1, 3, 32, 32).astype(np.float32) / np.float32(255)


def efficientnet(work):
    checkpoint = ROOT / "data/cache/efficientnet-lite0-57934424.pth"
    images = pictures(8)
    if images is None or not checkpoint.exists():
        print("skipped: EfficientNet-Lite0 from its checkpoint")
        return
    x = (images.repeat(7, 2).repeat(7, 3) - np.float32(0.498)) / np.float32(0.502)
    arch = ["--arch", "efficientnet-lite0"]
    beside("EfficientNet-Lite0 from its checkpoint, exported", checkpoint, x, work, arch)


def minilm(work):
    checkpoint = ROOT / "data/cache/minilm-l6-v2.safetensors"
    feeds = next(steps("minilm"), None)
    if feeds is None or not checkpoint.exists():
        print("skipped: MiniLM-L6 from its checkpoint")
        return
    names = ["input_ids", "attention_mask", "token_type_ids"]
    what = "MiniLM-L6 from its checkpoint, exported"
    feeds = dict(zip(names, feeds))
    beside(what, checkpoint, feeds, work, ["--arch", "minilm-l6"])
    stored = read_pb(next(CACHE.glob("reference/minilm/step-000/output_0.pb")))
    found = np.load(work / "y.npz")["last_hidden_state"]
    real = feeds["attention_mask"] > 0
    off = np.sqrt(((stored - found)[real] ** 2).mean() / (found[real] ** 2).mean())
    print(f"  the file with int8 weights gives hidden states that are {off:.1%} of these away")


def in_bytes(work):
    images = pictures(200)
    if images is None or not CHECKPOINT.exists():
        print("skipped: ResNet-20 in bytes")
        return
    packed = work / "bytes.bantam"
    bantam("shrink", CHECKPOINT, "--arch", "resnet20-cifar", "--data", ROOT / "data/cache/cifar10", "-o", packed)
    bantam("export", packed, "--to", "onnx", "-o", work / "bytes.onnx")
    mean = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
    deviation = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)
    x = (images - mean) / deviation
    np.save(work / "x.npy", x)
    bantam("run", packed, work / "x.npy", "--raw", "-o", work / "y.npy")
    y = np.load(work / "y.npy")
    s = session(work / "bytes.onnx", ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    found = s.run(None, {s.get_inputs()[0].name: x})[0]
    off = np.abs(found - y).max(1) / np.abs(y).max()
    same, close = (found.argmax(1) == y.argmax(1)).mean(), (off <= BOUND).mean()
    good = same == 1 and close >= 0.75
    what = "ResNet-20 in bytes, exported"
    print(f"{what}: {close:.1%} of pictures within {BOUND:.0e}, the others within {off.max():.1e}, "
          f"{same:.1%} of the same class{'' if good else ' FAILED'}", flush=True)
    if not good:
        failed.append(what)


def architectures(work):
    made = subprocess.run(
        ["cargo", "run", "-q", "--release", "-p", "bantam", "--example", "fresh_networks", "--", work],
        cwd=ROOT, capture_output=True, text=True,
    )
    if made.returncode:
        print(f"skipped: architectures with fresh weights: {made.stderr.strip()}")
        return
    for path in sorted(work.glob("*.bantam")):
        feeds = drawn(bantam("inspect", path).splitlines())
        beside(f"{path.stem}, fresh weights, exported", path, feeds, work)
        path.unlink()


def grown(work):
    bantam("grow", ROOT / "data/titanic.csv", "--target", "Survived", "--seed", "1",
           "--runs", work / "runs", "-o", work / "titanic.bantam", "--quiet")
    lines = bantam("inspect", work / "titanic.bantam").splitlines()
    text = next(line for line in lines if line.startswith("in "))
    width = int(text.split("[")[1].rstrip("]").split(", ")[1])
    ops = beside("titanic, pruned and quantized, exported", work / "titanic.bantam", noise([100, width]), work)
    print(f"  operators: {ops[0] if ops else '?'}")


BANTAM = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "target/release/bantam")
CHECKPOINT = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "data/cache/resnet20-12fca82f.th"
with tempfile.TemporaryDirectory() as folder:
    work = pathlib.Path(folder)
    cached(work)
    if CHECKPOINT.exists():
        arch = ["--arch", "resnet20-cifar"]
        beside("ResNet-20 from its checkpoint, exported", CHECKPOINT, noise([4, 3, 32, 32]), work, arch)
    else:
        print(f"skipped: {CHECKPOINT} is not there")
    efficientnet(work)
    minilm(work)
    in_bytes(work)
    grown(work)
    architectures(pathlib.Path(tempfile.mkdtemp(dir=work)))
print(f"{len(failed)} failed" + "".join(f"\n  {f}" for f in failed))
sys.exit(bool(failed))
