#!/usr/bin/env python3
"""Writes the small checkpoints that the tests of crates/formats/src/torch read.

    python scripts/torch-samples.py crates/formats/src/torch/tests

Needs PyTorch and NumPy. The values are those that tests.rs expects.
"""
import argparse
import collections
import pathlib

import numpy
import torch


def contents():
    """One of everything that a state dictionary can hold."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = collections.OrderedDict()
    state["plain"] = base.clone()
    state["half"] = torch.tensor([0.5, -2.0, 65504.0], dtype=torch.float16)
    state["bfloat"] = torch.tensor([1.0, -3.0e38], dtype=torch.bfloat16)
    state["double"] = torch.tensor(0.1, dtype=torch.float64)
    state["long"] = torch.tensor([-1, 2**40])
    state["int"] = torch.tensor([[-7]], dtype=torch.int32)
    state["short"] = torch.tensor([-300], dtype=torch.int16)
    state["char"] = torch.tensor([-128, 127], dtype=torch.int8)
    state["byte"] = torch.tensor([0, 255], dtype=torch.uint8)
    state["bool"] = torch.tensor([True, False])
    state["empty"] = torch.zeros(0, 3)
    state["transposed"] = base.t()
    state["part"] = base[1:3, ::2]
    state["tied"] = base
    state["parameter"] = torch.nn.Parameter(torch.tensor([1.5]))
    return state


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    state = contents()
    whole = {
        "epoch": 3,
        "best": numpy.float64(0.5),
        "arguments": argparse.Namespace(rate=0.1, device=torch.device("cpu"), type=torch.float32),
        "model": state,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "groups": [{"lr": 1e-3, "b": (0.9, None)}]},
        "losses": [1.0, 2.0],
        "size": torch.Size([1, 2]),
    }
    for name, zipped, protocol in [
        ("zip", True, 2),
        ("legacy", False, 2),
        ("zip4", True, 4),
        ("legacy5", False, 5),
    ]:
        torch.save(whole, folder / f"{name}.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    torch.serialization.set_crc32_options(False)
    torch.save(whole, folder / "unchecked.pt")
    torch.serialization.set_crc32_options(True)
    torch.save({"w": torch.tensor([1 + 2j])}, folder / "complex.pt")
    torch.save(torch.nn.Linear(2, 1), folder / "module.pt")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), folder / "script.pt")


main()
