#!/usr/bin/env python3
"""Measures of difficulty beside those of the Python package problexity, on the same standardised numbers.

Needs numpy, scikit-learn and problexity, and `cargo build --release`. Prints a table: our value, problexity's,
and, where the two follow another convention, the value that plain NumPy gives by ours.

    python3 scripts/compare-difficulty.py [BANTAM]
"""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import problexity.classification as px
from sklearn import datasets
from sklearn.svm import LinearSVC

PACKAGE = {
    "F1": px.f1, "F1v": px.f1v, "F2": px.f2, "F3": px.f3, "F4": px.f4, "L1": px.l1, "L2": px.l2, "L3": px.l3,
    "N1": px.n1, "N2": px.n2, "N3": px.n3, "N4": px.n4, "T1": px.t1, "LSC": px.lsc, "Density": px.density,
    "ClsCoef": px.clsCoef, "Hubs": px.hubs, "T2": px.t2, "T3": px.t3, "T4": px.t4, "C1": px.c1, "C2": px.c2,
}


def titanic():
    """The passengers with an age: numbers only."""
    import csv

    with open("data/titanic.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["Age"]]
    names = ["Pclass", "Age", "SibSp", "Parch", "Fare"]
    x = np.array([[float(r[n]) for n in names] for r in rows])
    return x, np.array([int(r["Survived"]) for r in rows])


def sets():
    for name, load in [("iris", datasets.load_iris), ("wine", datasets.load_wine),
                       ("breast cancer", datasets.load_breast_cancer)]:
        found = load()
        yield name, found.data, found.target
    yield "titanic", *titanic()


def ours(bantam, x, y):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "t.csv")
        names = [f"x{i}" for i in range(x.shape[1])]
        with open(path, "w") as file:
            file.write(",".join(names + ["y"]) + "\n")
            for row, label in zip(x.tolist(), y):
                file.write(",".join([repr(v) for v in row] + [f"c{label}"]) + "\n")
        command = [bantam, "measure", path, "--target", "y", "--quiet", "--json"]
        for name in names:
            command += ["--keep-column", name, "--numeric", name]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    found = json.loads(out)
    assert found["difficulty_rows"] == len(y), "the whole table, not a sample"
    return {m["name"]: m["value"] for m in found["difficulty"]}


def pairs(measure, x, y):
    """Mean over the pairs of classes."""
    classes = np.unique(y)
    values = []
    for i, a in enumerate(classes):
        for b in classes[i + 1:]:
            some = (y == a) | (y == b)
            values.append(measure(x[some], (y[some] == b).astype(int)))
    return float(np.mean(values))


def f1(x, y):
    """Fisher's ratio as the sum over the classes of the squares between, over those inside."""
    between, inside = 0, 0
    for c in np.unique(y):
        own = x[y == c]
        between = between + len(own) * (own.mean(0) - x.mean(0)) ** 2
        inside = inside + ((own - own.mean(0)) ** 2).sum(0)
    return float(1 / (1 + (between / inside).max()))


def machine(x, y):
    """L1 as the mean by which wrong answers miss their margin, and L2, by hinge loss to convergence."""
    fitted = LinearSVC(loss="hinge", C=1, max_iter=1_000_000, tol=1e-5).fit(x, y)
    margin = fitted.decision_function(x) * (2 * y - 1)
    miss = np.where(margin < 0, 1 - margin, 0).mean()
    return miss / (1 + miss), (margin <= 0).mean()


def f4(x, y):
    """The next feature is the one that leaves the fewest of the rows that are left, not of all rows."""
    left, features = np.ones(len(y), bool), list(range(x.shape[1]))
    while features and len(set(y[left])) == 2:
        low = np.maximum(x[left & (y == 0)].min(0), x[left & (y == 1)].min(0))
        high = np.minimum(x[left & (y == 0)].max(0), x[left & (y == 1)].max(0))
        stay = left[:, None] & (x >= low) & (x <= high)
        at = min(features, key=lambda j: (stay[:, j].sum(), j))
        if stay[:, at].sum() == left.sum():
            break
        features.remove(at)
        left = stay[:, at]
    return left.mean() if len(set(y[left])) == 2 else 0.0


def distances(x):
    return np.sqrt(np.maximum(((x[:, None] - x[None]) ** 2).sum(-1), 0))


def n1(x, y):
    """Rows, not edges, of the spanning tree that touch another class; equal rows are joined first."""
    d, n = distances(x), len(y)
    best, via, inside, border = d[0].copy(), np.zeros(n, int), np.zeros(n, bool), np.zeros(n, bool)
    inside[0] = True
    for _ in range(n - 1):
        at = int(np.argmin(np.where(inside, np.inf, best)))
        inside[at] = True
        if y[at] != y[via[at]]:
            border[[at, via[at]]] = True
        nearer = d[at] < best
        best[nearer], via[nearer] = d[at][nearer], at
    return border.mean()


def nearest(x, y):
    d = distances(x)
    np.fill_diagonal(d, np.inf)
    same = y[:, None] == y[None]
    return np.where(same, d, np.inf).min(1), np.where(same, np.inf, d).min(1)


def n2(x, y):
    """The nearest of another class, not the second nearest."""
    friend, enemy = nearest(x, y)
    return friend.sum() / (friend.sum() + enemy.sum())


def n3(x, y):
    """Equally near rows of both classes count half."""
    friend, enemy = nearest(x, y)
    return (enemy < friend).mean() + (enemy == friend).mean() / 2


def n4(x, y):
    """One neighbour, not five; the mean of 20 draws."""
    rng = np.random.default_rng(0)
    wrong = []
    for _ in range(20):
        for c in np.unique(y):
            rows = np.flatnonzero(y == c)
            a, b = rng.choice(rows, (2, len(rows)))
            points = x[b] + rng.random((len(rows), 1)) * (x[a] - x[b])
            d = ((points[:, None] - x[None]) ** 2).sum(-1)
            wrong += list(y[d.argmin(1)] != c)
    return float(np.mean(wrong))


def network(x, y):
    """Gower's distance as it is, not stretched to reach from 0 to 1."""
    scaled = (x - x.min(0)) / (x.max(0) - x.min(0))
    d = np.abs(scaled[:, None] - scaled[None]).mean(-1)
    e = (d < 0.15) & (y[:, None] == y[None])
    np.fill_diagonal(e, False)
    e = e.astype(float)
    k, n = e.sum(1), len(y)
    density = 1 - e.sum() / (n * (n - 1))
    some = k > 1
    inner = np.einsum("ij,jk,ki->i", e, e, e)[some]
    cluster = 1 - (inner / (k[some] * (k[some] - 1))).sum() / n
    hub = np.ones(n)
    for _ in range(200):
        hub = e @ (e @ hub)
        hub /= hub.max()
    return {"Density": density, "ClsCoef": cluster, "Hubs": 1 - hub.sum() / n}


def c2(_, y):
    """For any number of classes; problexity's factor is that of two."""
    counts = np.unique(y, return_counts=True)[1]
    k = len(counts)
    return 1 - 1 / ((k - 1) / k * (counts / (len(y) - counts)).sum())


def main():
    bantam = sys.argv[1] if len(sys.argv) > 1 else "target/release/bantam"
    np.random.seed(0)
    for name, raw, y in sets():
        x = (raw - raw.mean(0)) / raw.std(0)
        mine = ours(bantam, raw, y)
        by_numpy = {"F1": f1(x, y), "N1": n1(x, y), "N2": n2(x, y), "N3": n3(x, y), "N4": n4(x, y),
                    "C2": c2(x, y), **network(x, y),
                    "F4": pairs(f4, x, y), "L1": pairs(lambda x, y: machine(x, y)[0], x, y),
                    "L2": pairs(lambda x, y: machine(x, y)[1], x, y)}
        print(f"\n{name}, {x.shape[0]} x {x.shape[1]}, {len(np.unique(y))} classes")
        print("| measure | Bantam | problexity | NumPy, our convention |\n| --- | --- | --- | --- |")
        for measure, value in mine.items():
            package = PACKAGE[measure]
            data = raw if measure in ("Density", "ClsCoef", "Hubs") else x
            # T1, LSC and what only looks at the table know more than two classes; the rest is made of pairs.
            whole = measure in ("T1", "LSC", "N3", "T2", "T3", "T4", "C1", "C2")
            theirs = package(data, y) if whole else pairs(package, data, y)
            again = f"{by_numpy[measure]:.4f}" if measure in by_numpy else ""
            print(f"| {measure} | {value:.4f} | {theirs:.4f} | {again} |")


if __name__ == "__main__":
    main()
