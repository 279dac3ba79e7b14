#!/usr/bin/env python3
"""Answers of onnxruntime for the networks that scripts/fetch-onnx-cases.sh fetches.

Writes data/cache/onnx/reference/NAME/step-NNN/{input,output}_N.pb, which the tests of bantam-formats
compare with. Needs numpy and onnxruntime. With folders as arguments it does another thing: it runs
FOLDER/model.onnx of each on FOLDER/input_N.pb and compares with FOLDER/output_N.pb, which is how
exported networks are checked.
"""

import pathlib
import sys

import numpy as np
import onnxruntime as ort

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = ROOT / "data/cache/onnx"
CODES = {np.dtype(n): c for n, c in [
    ("float32", 1), ("uint8", 2), ("int8", 3), ("uint16", 4), ("int16", 5), ("int32", 6),
    ("int64", 7), ("bool", 9), ("float16", 10), ("float64", 11), ("uint32", 12), ("uint64", 13)]}
TYPES = {c: d for d, c in CODES.items()}


def varint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def write(path, array):
    """One TensorProto: dims, data_type and raw_data."""
    array = np.asarray(array)  # keeps arrays without axes as they are
    raw = array.tobytes()
    dims = b"".join(b"\x08" + varint(d) for d in array.shape)
    path.write_bytes(dims + b"\x10" + varint(CODES[array.dtype]) + b"\x4a" + varint(len(raw)) + raw)


def read(path):
    data, at, dims, dtype, raw = path.read_bytes(), 0, [], None, b""

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        if key == 0x08:
            dims.append(number())
        elif key == 0x0A:
            end = number() + at
            while at < end:
                dims.append(number())
        elif key == 0x10:
            dtype = TYPES[number()]
        elif key & 7 == 2:
            length = number()
            if key >> 3 == 9:
                raw = data[at : at + length]
            at += length
        else:
            sys.exit(f"{path}: field {key >> 3} is not expected")
    return np.frombuffer(raw, dtype).reshape(dims)


def session(path):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def step(name, number, run, feeds):
    folder = CACHE / "reference" / name / f"step-{number:03}"
    folder.mkdir(parents=True, exist_ok=True)
    answers = run.run(None, feeds)
    for i, item in enumerate(run.get_inputs()):
        write(folder / f"input_{i}.pb", feeds[item.name])
    for i, answer in enumerate(answers):
        write(folder / f"output_{i}.pb", answer)
    return dict(zip([o.name for o in run.get_outputs()], answers))


def magika():
    """The first and last 1,024 bytes of files of this repository, padded with 256."""
    run = session(CACHE / "magika/model.onnx")
    files = ["README.md", "Cargo.toml", "scripts/onnx-reference.py", "data/titanic.csv", "crates/core/src/lib.rs"]
    rows = []
    for file in files:
        content = list((ROOT / file).read_bytes().strip())
        start, end = content[:1024], content[-1024:]
        rows.append(start + [256] * (1024 - len(start)) + [256] * (1024 - len(end)) + end)
    step("magika", 0, run, {"bytes": np.array(rows, np.int32)})
    step("magika", 1, run, {"bytes": np.array(rows[:1], np.int32)})


def minilm():
    """Tokens of two sentences, the second shorter than the first."""
    run = session(CACHE / "minilm/model.onnx")
    ids = np.array([[101, 1996, 10514, 3527, 2003, 1037, 2235, 4937, 2008, 3268, 102],
                    [101, 2023, 2003, 2019, 6019, 6251, 102, 0, 0, 0, 0]], np.int64)
    mask = (ids != 0).astype(np.int64)
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    step("minilm", 0, run, feeds)


def signal(n):
    """A voice-like sound, 16 kHz: a gliding tone with overtones, on and off, and noise."""
    t = np.arange(n) / 16000
    pitch = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * t)) / 16000
    voice = sum(np.sin(k * pitch) / k for k in range(1, 12))
    gate = (np.sin(2 * np.pi * 1.3 * t) > 0).astype(float)
    noise = np.random.default_rng(1).normal(size=n)
    return (0.2 * voice * gate + 0.01 * noise).astype(np.float32)


def silero():
    """100 steps of 512 samples with the 64 before them, the state carried over."""
    sound = signal(64 + 512 * 100)
    for path in sorted((CACHE / "silero/data").glob("*.onnx")):
        run = session(path)
        names = [i.name for i in run.get_inputs()]
        if "sequence" in path.name:
            frames = np.stack([sound[512 * i : 512 * i + 576] for i in range(100)])
            zero = np.zeros((1, 1, 128), np.float32)
            step(path.stem, 0, run, {"input": frames, "h": zero, "c": zero})
            continue
        state = np.zeros((2, 1, 128), np.float32)
        for i in range(100):
            feeds = {"input": sound[None, 512 * i : 512 * i + 576], "state": state, "sr": np.array(16000)}
            feeds = {name: feeds[name] for name in names}
            state = step(path.stem, i, run, feeds)["stateN"]


def check(folder):
    folder = pathlib.Path(folder)
    run = session(folder / "model.onnx")
    feeds = {item.name: read(folder / f"input_{i}.pb") for i, item in enumerate(run.get_inputs())}
    worst = 0.0
    for i, answer in enumerate(run.run(None, feeds)):
        expected = read(folder / f"output_{i}.pb")
        if answer.dtype != expected.dtype or answer.shape != expected.shape:
            sys.exit(f"{folder}: output {i} is {answer.dtype} {answer.shape}, not {expected.dtype} {expected.shape}")
        if answer.size:
            off = np.abs(answer.astype(np.float64) - expected).max()
            worst = max(worst, off / max(np.abs(expected.astype(np.float64)).max(), 1e-30))
    print(f"{folder.name}: largest difference {worst:.1e} of the largest value")
    if not worst < 1e-4:
        sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for argument in sys.argv[1:]:
            check(argument)
    else:
        magika()
        minilm()
        silero()
        print(CACHE / "reference")
