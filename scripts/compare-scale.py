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


def median(run, times=3):
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds), result


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
        seconds, (changes, correct) = median(lambda: vectorised(x, y))
        columns = np.asfortranarray(x)
        by_columns, _ = median(lambda: vectorised(columns, y))
        del columns
        found = ours(folder, x, y) if rows == tree_rows else None
        if found is None:
            # The tree of that many rows is not wanted, but the sort is.
            os.environ["SCALE_SORT_ONLY"] = "1"
            found = ours(folder, x, y)
            del os.environ["SCALE_SORT_ONLY"]
        assert (found["changes"], found["correct"]) == (changes, correct), (found, changes, correct)
        best = min(seconds, by_columns)
        plain, typed = found["plain_seconds"], found["typed_seconds"]
        print(f"{rows} rows x {COLUMNS}, {changes} changes in both")
        print(f"  NumPy, the better layout  {best:8.3f} s")
        print(f"  plain sums                {plain:8.3f} s  {best / plain:.1f} times as fast")
        print(f"  ranks (typed)             {typed:8.3f} s  {best / typed:.1f} times as fast, though it ranks")
        del x, y
        x, y = data(tree_rows)
        found = ours(folder, x, y)
        sys.stdout.flush()
        tree = DecisionTreeClassifier(criterion="entropy", random_state=0)
        seconds, fitted = median(lambda: tree.fit(x, y), 1)
        one, folds = found["tree_seconds"], found["folds_seconds"]
        print(f"{tree_rows} rows x {COLUMNS}, grown until every leaf has one class")
        print(f"  scikit-learn, one tree    {seconds:8.3f} s  {fitted.get_n_leaves()} leaves, exact cuts")
        print(f"  one tree, 256 bins        {one:8.3f} s  {found['leaves']} leaves, {seconds / one:.1f} times as fast")
        print(f"  and five folds, pruned    {folds:8.3f} s  {seconds / folds:.1f} times as fast as the one")


if __name__ == "__main__":
    main()
