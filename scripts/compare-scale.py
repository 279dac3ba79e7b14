#!/usr/bin/env python3
"""Threshold sort and tree beside NumPy and scikit-learn, on the same data and the same machine.

Needs numpy and scikit-learn. Writes arrays to data/cache and takes them away again.

    python3 scripts/compare-scale.py [ROWS] [TREE_ROWS]

The sums are of the numbers as they are, so both programs count the same changes, which is checked. The
trees are grown until every leaf has one class: scikit-learn's by exact cuts, ours by 256 bins a column.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from sklearn.tree import DecisionTreeClassifier

COLUMNS = 20


def data(n):
    rng = np.random.default_rng(1)
    x = rng.random((n, COLUMNS))
    rule = x[:, 0] + x[:, 1] / 2 > 0.75
    return x, (rule ^ (rng.random(n) < 0.1)).astype(np.int64)


def vectorised(x, y):
    """Label changes along the sorted sums, equal sums merged to their majority."""
    sums = x[:, 0].copy()
    for c in range(1, x.shape[1]):
        sums += x[:, c]
    order = np.argsort(sums)
    keys, labels = sums[order], y[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    ones = np.add.reduceat(labels, starts)
    sizes = np.diff(np.r_[starts, len(keys)])
    majority = ones * 2 > sizes
    correct = np.where(majority, ones, sizes - ones).sum()
    return int((majority[1:] != majority[:-1]).sum()), int(correct)


def timed(run, times=3):
    """Median and least wall time, and the least time on all processors."""
    walls, cpus = [], []
    for _ in range(times):
        begin, used = time.perf_counter(), time.process_time()
        result = run()
        walls.append(time.perf_counter() - begin)
        cpus.append(time.process_time() - used)
    return {"median": statistics.median(walls), "least": min(walls), "cpu": min(cpus)}, result


def line(name, t, other=None, more=""):
    text = f"  {name:<26} median {t['median']:8.3f} s  least {t['least']:8.3f} s  cpu {t['cpu']:7.2f} s"
    if other:
        ratio = [f"{other[key] / t[key]:.1f}" if t[key] else "-" for key in ("median", "least", "cpu")]
        text += f"  {' / '.join(ratio)} times as fast"
    print(text + more, flush=True)


def ours(folder, x, y):
    np.save(os.path.join(folder, "x.npy"), x)
    np.save(os.path.join(folder, "y.npy"), y)
    command = ["cargo", "bench", "-q", "-p", "bantam-measure", "--bench", "scale", "--"]
    command += [os.path.abspath(os.path.join(folder, name)) for name in ("x.npy", "y.npy")]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    tree_rows = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    os.makedirs("data/cache", exist_ok=True)
    with tempfile.TemporaryDirectory(dir="data/cache") as folder:
        x, y = data(rows)
        by_rows, (changes, correct) = timed(lambda: vectorised(x, y))
        columns = np.asfortranarray(x)
        by_columns, _ = timed(lambda: vectorised(columns, y))
        del columns
        os.environ["SCALE_SORT_ONLY"] = "1"
        found = ours(folder, x, y)
        del os.environ["SCALE_SORT_ONLY"]
        assert (found["changes"], found["correct"]) == (changes, correct), (found, changes, correct)
        best = min(by_rows, by_columns, key=lambda t: t["median"])
        print(f"{rows} rows x {COLUMNS}, {changes} changes in both; ratios of median, least, cpu")
        line("NumPy, the better layout", best)
        line("plain sums", found["plain"], best)
        line("ranks (typed), which it adds", found["typed"], best)
        del x, y
        x, y = data(tree_rows)
        found = ours(folder, x, y)
        tree = DecisionTreeClassifier(criterion="entropy", random_state=0)
        theirs, fitted = timed(lambda: tree.fit(x, y), 1)
        print(f"{tree_rows} rows x {COLUMNS}, grown until every leaf has one class")
        line("scikit-learn, one tree", theirs, None, f"  {fitted.get_n_leaves()} leaves, exact cuts")
        line("one tree, 256 bins", found["tree"], theirs, f", {found['leaves']} leaves")
        line("and five folds, pruned", found["folds"], theirs)


if __name__ == "__main__":
    main()
