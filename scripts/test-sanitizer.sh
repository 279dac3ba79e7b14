#!/usr/bin/env bash
# Runs the tests of the kernels, and of the runtime that calls them, under AddressSanitizer. The flag is one of
# the nightly compiler, which RUSTC_BOOTSTRAP=1 lets the stable one take; Rust's own distribution has the runtime
# library for x86-64 Linux, and elsewhere this is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
libraries=$(rustc --print sysroot)/lib/rustlib/$target/lib
ls "$libraries"/librustc*asan.a > /dev/null 2>&1 || {
  echo "skipped: the Rust toolchain has no AddressSanitizer for $target" >&2
  exit 0
}
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address"
cargo test --release -p bantam-kernels -p bantam-runtime --lib --tests --target "$target"
