#!/usr/bin/env python3
"""Writes what PyTorch says to a few inputs, for crates/cli/tests/real_weights.rs.

    python scripts/torch-reference.py data/cache crates/cli/tests/reference [BANTAM]

Needs PyTorch, NumPy, and what scripts/fetch-weights.sh and scripts/fetch-cifar10.sh fetch.

- efficientnet-lite0.npy: the first four images of CIFAR-10's test set, every pixel repeated 7 times in both
  directions; needs the package efficientnet-lite-pytorch, and is left out without it.
- minilm-l6.npz: the embeddings of a few sentences, and the arrays that were fed. The encoder is written out
  below by its definition (Devlin et al. 2019; Vaswani et al. 2017). With the program as a third argument,
  its outputs on the same arrays are compared, hidden states included.
"""
import argparse
import importlib
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
from torch.nn import functional as F

SENTENCES = [
    "The smallest network that does the job.",
    "How big a model does this table need, and is the data enough?",
    "Bantams are small chickens.",
    "Yes.",
]


def efficientnet(cache, to):
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as e:
        print(f"skipped: {e}")
        return
    rows = numpy.fromfile(cache / "cifar10/test_batch.bin", dtype=numpy.uint8).reshape(-1, 3073)
    pixels = rows[:4, 1:].reshape(4, 3, 32, 32).repeat(7, axis=2).repeat(7, axis=3)
    x = (pixels.astype(numpy.float32) / 255 - numpy.float32(0.498)) / numpy.float32(0.502)
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = cache / "efficientnet-lite0-57934424.pth"
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    with torch.no_grad():
        y = network(torch.from_numpy(x)).numpy()
    numpy.save(to / "efficientnet-lite0.npy", y)


def read_safetensors(path):
    """Tensors of 32-bit floats by name: the header is JSON, the values lie behind it."""
    import json

    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    tensors = {}
    for name, t in header.items():
        if t.get("dtype") == "F32":
            start, end = (8 + size + at for at in t["data_offsets"])
            values = numpy.frombuffer(data[start:end], numpy.float32).reshape(t["shape"])
            tensors[name] = torch.from_numpy(values.copy())
    return tensors


def bert(w, ids, mask, types, heads=12):
    """Hidden states of the last layer, and the mean of those of words with length 1."""

    def dense(name, x):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)

    n, t = ids.shape
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][types]
    x = norm("embeddings.LayerNorm", x + w["embeddings.position_embeddings.weight"][:t])
    bias = (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
    layer = 0
    while f"encoder.layer.{layer}.output.dense.weight" in w:
        at = f"encoder.layer.{layer}"
        q, k, v = (
            dense(f"{at}.attention.self.{what}", x).view(n, t, heads, -1).transpose(1, 2)
            for what in ("query", "key", "value")
        )
        shares = torch.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5 + bias, -1)
        y = (shares @ v).transpose(1, 2).reshape(n, t, -1)
        x = norm(f"{at}.attention.output.LayerNorm", dense(f"{at}.attention.output.dense", y) + x)
        y = F.gelu(dense(f"{at}.intermediate.dense", x))
        x = norm(f"{at}.output.LayerNorm", dense(f"{at}.output.dense", y) + x)
        layer += 1
    real = mask[:, :, None].float()
    return x, F.normalize((x * real).sum(1) / real.sum(1).clamp(min=1e-9), dim=1)


def minilm(cache, to, program):
    weights = cache / "minilm-l6-v2.safetensors"
    texts = importlib.import_module("sentences")
    vocabulary = texts.read_vocabulary(cache / "minilm-vocabulary.txt")
    fed = texts.padded([texts.encode(s, vocabulary, 128) for s in SENTENCES])
    arrays = (torch.from_numpy(fed[name]) for name in ("input_ids", "attention_mask", "token_type_ids"))
    with torch.no_grad():
        hidden, sentences = (y.numpy() for y in bert(read_safetensors(weights), *arrays))
    numpy.savez(to / "minilm-l6.npz", **fed, sentence_embedding=sentences)
    if program is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = (pathlib.Path(folder) / name for name in ("in.npz", "out.npz"))
        numpy.savez(inputs, **fed)
        command = [program, "run", weights, "--arch", "minilm-l6", inputs, "-o", outputs, "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = numpy.load(outputs)
        for name, expected in [("last_hidden_state", hidden), ("sentence_embedding", sentences)]:
            off = numpy.abs(found[name] - expected).max() / numpy.abs(expected).max()
            print(f"{name}: largest difference {off:.1e} of the largest value")
            if not off < 1e-4:
                sys.exit(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=pathlib.Path)
    parser.add_argument("to", type=pathlib.Path)
    parser.add_argument("program", nargs="?")
    args = parser.parse_args()
    efficientnet(args.cache, args.to)
    minilm(args.cache, args.to, args.program)


main()
