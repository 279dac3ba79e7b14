#!/usr/bin/env bash
# Builds the workspace for 64-bit Arm and runs the kernel tests there under emulation, which proves results
# and says nothing of speed. Needs `rustup target add aarch64-unknown-linux-gnu` and Debian's packages
# gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static.
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
for tool in aarch64-linux-gnu-gcc qemu-aarch64-static; do
  command -v "$tool" > /dev/null || {
    echo "skipped: $tool is not installed" >&2
    exit 0
  }
done
rustup target list --installed | grep -qx "$target" || {
  echo "skipped: rustup has no $target" >&2
  exit 0
}
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
cargo test --release -p bantam-kernels -p bantam-runtime --target "$target"
cargo build --release --workspace --target "$target"
