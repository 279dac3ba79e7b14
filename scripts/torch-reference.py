#!/usr/bin/env python3
"""Writes what PyTorch says to four images, for crates/cli/tests/real_weights.rs.

    python scripts/torch-reference.py data/cache crates/cli/tests/reference

Needs PyTorch, NumPy, the package efficientnet-lite-pytorch, and what scripts/fetch-weights.sh and
scripts/fetch-cifar10.sh fetch. The images are the first four of CIFAR-10's test set, every pixel
repeated 7 times in both directions.
"""
import argparse
import pathlib

import numpy
import torch
from efficientnet_lite_pytorch import EfficientNet


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=pathlib.Path)
    parser.add_argument("to", type=pathlib.Path)
    args = parser.parse_args()
    rows = numpy.fromfile(args.cache / "cifar10/test_batch.bin", dtype=numpy.uint8).reshape(-1, 3073)
    pixels = rows[:4, 1:].reshape(4, 3, 32, 32).repeat(7, axis=2).repeat(7, axis=3)
    x = (pixels.astype(numpy.float32) / 255 - numpy.float32(0.498)) / numpy.float32(0.502)
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = args.cache / "efficientnet-lite0-57934424.pth"
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    with torch.no_grad():
        y = network(torch.from_numpy(x)).numpy()
    numpy.save(args.to / "efficientnet-lite0.npy", y)


main()
