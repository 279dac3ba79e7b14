#!/bin/sh
# Programs beside each other, by turns: medians and least times in microseconds of networks of one picture or
# sentence on one thread. For the program that is given away beside the one that benchmarks are made of:
#   scripts/bench-programs.sh target/release/bantam target/dist/bantam
# ROUNDS (3) says how often, NETWORKS which files.
set -eu
cd "$(dirname "$0")/.."
networks=${NETWORKS:-$(ls data/cache/bench/*.onnx)}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
for _ in $(seq "${ROUNDS:-3}"); do
  for network in $networks; do
    for program in "$@"; do
      "$program" bench "$network" --batch 1 --threads 1 --json --quiet |
        python3 -c 'import json, sys; r = json.load(sys.stdin)["runs"][0]
print(*sys.argv[1:], r["median_seconds"] * 1e6, r["min_seconds"] * 1e6)' "$network" "$program" >>"$out"
    done
  done
done
python3 - "$out" "$@" <<'P'
import statistics, sys
times = {}
for line in open(sys.argv[1]):
    network, program, median, least = line.rsplit(" ", 3)
    times.setdefault(network, {}).setdefault(program, []).append((float(median), float(least)))
print(f"{'':32}" + "".join(f"{p[-22:]:>24}" for p in sys.argv[2:]))
for network, of in times.items():
    each = [(statistics.median(m for m, _ in of[p]), min(l for _, l in of[p])) for p in sys.argv[2:]]
    name = network.rsplit("/", 1)[-1].removesuffix(".onnx")
    print(f"{name:32}" + "".join(f"{m:12.1f}{l:12.1f}" for m, l in each))
P
