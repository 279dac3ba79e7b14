#!/usr/bin/env bash
# The training step beside PyTorch: both run by turns, a process per row, and the ratios of their
# CPU times are printed (over 1: slower than PyTorch). Rows without a partner are printed alone.
#
#   PASSES=5 THREADS=1 STEPS=300 CORE=0 PYTHON=python3 scripts/bench-step.sh [NETWORK...]
#
# STEPS is for the MLP and LeNet-5; the two larger networks run a tenth of it, at least 10.
# CORE pins every run to one core (Linux, `taskset`); leave it out with more threads than one.
# PYTHON needs torch for the comparison, and nothing but the standard library for the table.
set -euo pipefail
cd "$(dirname "$0")/.."
networks=(mlp lenet-5 resnet-20 inverted)
[ $# -gt 0 ] && networks=("$@")
passes=${PASSES:-5} threads=${THREADS:-1} steps=${STEPS:-300} python=${PYTHON:-python3}
pin=()
if [ -n "${CORE:-}" ]; then
  command -v taskset >/dev/null || { echo "CORE needs taskset" >&2; exit 1; }
  pin=(taskset -c "$CORE")
fi
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT

cargo bench -q -p bantam-train --bench step --no-run
steps_of() {
  case "$1" in
    mlp | lenet-5) echo "$steps" ;;
    *) echo $((steps >= 100 ? steps / 10 : 10)) ;;
  esac
}
with() {
  "${pin[@]}" cargo bench -q -p bantam-train --bench step -- "$1" \
    --threads "$threads" --steps "$(steps_of "$1")" --json --no-twins >>"$rows"
}
against() {
  "${pin[@]}" "$python" scripts/bench-torch.py "$1" "$2" \
    --threads "$threads" --steps "$(steps_of "$1")" --json >>"$rows"
}
torch=1
"$python" -c 'import torch' 2>/dev/null || { torch=0; echo "PyTorch is not installed: no comparison" >&2; }
for pass in $(seq "$passes"); do
  echo "pass $pass of $passes" >&2
  for network in "${networks[@]}"; do
    with "$network"
    [ "$torch" = 0 ] && continue
    if [ "$network" = mlp ]; then
      against mlp torch
    else
      against "$network" torch-nchw
      with "$network"
      against "$network" torch-channels_last
    fi
  done
done

"$python" - "$rows" <<'TABLE'
import collections, json, statistics, sys

rows = collections.defaultdict(list)
for line in open(sys.argv[1]):
    row = json.loads(line)
    rows[row["network"], row["engine"]].append(row)


def summary(runs, clock):
    medians = [run[f"{clock}_ms_median"] for run in runs]
    return statistics.median(medians), min(run[f"{clock}_ms_min"] for run in runs), medians


print(f"{'network':<20} {'engine':<20} {'cpu median':>10} {'cpu min':>9} {'wall med.':>9}"
      f" {'wall min':>9} {'peak RSS':>9}  cpu medians of the runs")
for (network, engine), runs in rows.items():
    cpu, wall = summary(runs, "cpu"), summary(runs, "wall")
    rss = max(run["peak_rss_bytes"] or 0 for run in runs) / 1e6
    print(f"{network:<20} {engine:<20} {cpu[0]:>10.3f} {cpu[1]:>9.3f} {wall[0]:>9.3f} {wall[1]:>9.3f}"
          f" {rss:>6.0f} MB ", " ".join(f"{m:.2f}" for m in cpu[2]))
print()
for (network, engine), runs in rows.items():
    if engine == "bantam":
        best = max(runs, key=lambda run: run["gflops_per_s"])
        print(f"{network}: {best['gflops_per_s']:.0f} GFLOP/s, {100 * best['share_of_peak']:.0f} % of peak")
        continue
    ours, theirs = summary(rows[network, "bantam"], "cpu"), summary(runs, "cpu")
    print(f"{network} against {engine}: median {ours[0] / theirs[0]:.2f}, minimum {ours[1] / theirs[1]:.2f}")
TABLE
