#!/usr/bin/env bash
# `bantam bench` beside onnxruntime, OpenVINO and PyTorch: builds the program, then runs bench-engines.py,
# which tells the rest (`scripts/bench-engines.sh --help`).
#
#   PYTHON=python3 scripts/bench-engines.sh --batch 1,64 --threads 1
#
# PYTHON needs torch, numpy and onnx, which make the networks; onnxruntime and openvino are measured if it
# has them.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build -q --release -p bantam-cli
program=${CARGO_TARGET_DIR:-target}/release/bantam
exec "${PYTHON:-python3}" scripts/bench-engines.py --bantam "$program" "$@"
