#!/usr/bin/env python3
"""The networks and the step of `cargo bench -p bantam-train --bench step`, in PyTorch eager.

    bench-torch.py [FILTER...] [--threads N] [--steps N] [--json]

Batch 128, f32, SGD with momentum, made-up data in memory, one row per network and memory layout.
A step draws its rows, runs forward and loss, backward and the update, and reads the loss. Times are
median and least of a step: CPU time of the process, all threads, and wall time. Without PyTorch it
says so and exits with 0.
"""

import argparse
import json
import resource
import statistics
import sys
import time

BATCH = 128
STEPS_PER_EPOCH = 16
WARM_UP = 10


def main():
    args = argparse.ArgumentParser()
    args.add_argument("filter", nargs="*", help="words that a row's network and engine have")
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--steps", type=int, default=300)
    args.add_argument("--json", action="store_true")
    args = args.parse_args()
    try:
        import torch
    except ImportError:
        print("skipped: PyTorch is not installed here", file=sys.stderr)
        return
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    from bench_networks import resnet_20

    def residual(torch):
        return resnet_20()[0]

    rows = [
        ("mlp-784-300-100-10", "nchw", mlp, [784]),
        ("lenet-5-caffe", "nchw", lenet_5_caffe, [1, 28, 28]),
        ("lenet-5-caffe", "channels_last", lenet_5_caffe, [1, 28, 28]),
        ("resnet-20", "nchw", residual, [3, 32, 32]),
        ("resnet-20", "channels_last", residual, [3, 32, 32]),
        ("inverted-residuals", "nchw", inverted_residuals, [3, 32, 32]),
        ("inverted-residuals", "channels_last", inverted_residuals, [3, 32, 32]),
    ]
    for network, layout, build, shape in rows:
        engine = "torch" if network.startswith("mlp") else f"torch-{layout}"
        if not all(word in f"{network} {engine}" for word in args.filter):
            continue
        row = {
            "engine": engine,
            "version": torch.__version__,
            "network": network,
            "batch": BATCH,
            "threads": args.threads,
            **measure(torch, build(torch), shape, layout == "channels_last", args.steps),
        }
        if args.json:
            print(json.dumps(row), flush=True)
        else:
            print(
                f"{network:<20} {engine:<20}"
                f" cpu ms median {row['cpu_ms_median']:.3f}, min {row['cpu_ms_min']:.3f};"
                f" wall ms median {row['wall_ms_median']:.3f}, min {row['wall_ms_min']:.3f}",
                flush=True,
            )


def mlp(torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    )


def lenet_5_caffe(torch):
    """Two convolutions without rectifier, max-pooling by 2 after each, dense 500, dense 10."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )


def inverted_residuals(torch):
    """Six blocks of MobileNetV2 with kernels of 3, 5 and 7; rectifiers in place as torchvision has them."""
    nn = torch.nn

    def normed(c_in, c_out, k, stride=1, groups=1, clipped=True):
        layers = [
            nn.Conv2d(c_in, c_out, k, stride, k // 2, groups=groups, bias=False),
            nn.BatchNorm2d(c_out),
        ]
        return nn.Sequential(*layers, *[nn.ReLU6(inplace=True)] * clipped)

    class Block(nn.Module):
        def __init__(self, c_in, c_out, k, stride):
            super().__init__()
            inner = 6 * c_in
            self.layers = nn.Sequential(
                normed(c_in, inner, 1),
                normed(inner, inner, k, stride, inner),
                normed(inner, c_out, 1, clipped=False),
            )
            self.adds = stride == 1 and c_in == c_out

        def forward(self, x):
            return x + self.layers(x) if self.adds else self.layers(x)

    sizes = [(16, 16, 3, 1), (16, 16, 5, 1), (16, 24, 3, 2), (24, 24, 5, 1), (24, 40, 7, 2), (40, 40, 7, 1)]
    return nn.Sequential(
        normed(3, 16, 3),
        *[Block(*size) for size in sizes],
        normed(40, 160, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(160, 10),
    )


def measure(torch, model, shape, channels_last, steps):
    torch.manual_seed(1)
    n = BATCH * STEPS_PER_EPOCH
    data, labels = torch.randn(n, *shape), torch.arange(n) % 10
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        data = data.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    loss_of = torch.nn.CrossEntropyLoss()
    order, cpu, wall = torch.randperm(n), [], []
    for step in range(WARM_UP + steps):
        cpu_start, wall_start = time.process_time_ns(), time.perf_counter_ns()
        first = step % STEPS_PER_EPOCH * BATCH
        rows = order[first : first + BATCH]
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model(data[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        loss.item()
        cpu.append((time.process_time_ns() - cpu_start) / 1e6)
        wall.append((time.perf_counter_ns() - wall_start) / 1e6)
    cpu, wall = cpu[WARM_UP:], wall[WARM_UP:]
    return {
        "steps": steps,
        "cpu_ms_median": statistics.median(cpu),
        "cpu_ms_min": min(cpu),
        "wall_ms_median": statistics.median(wall),
        "wall_ms_min": min(wall),
        "peak_rss_bytes": peak_rss_bytes(),
    }


def peak_rss_bytes():
    """The most memory that the process took; kibibytes on Linux, bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
