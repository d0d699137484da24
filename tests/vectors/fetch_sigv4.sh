#!/bin/bash
# Fetches the public Signature Version 4 test suites, by package name from their registries, for
# tests/unit/test_sigv4_suite.c. They are Apache-2.0 and stay outside the repository.
#
# Usage: fetch_sigv4.sh [FOLDER]      default: build/vectors/sigv4
#
# botocore (PyPI, source distribution): the original suite.
# aws-sigv4 (crates.io): the newer suite, each case in header and in query form.
# What cannot be fetched is reported and left out; exit status 1 if nothing could.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly ROOT
readonly FOLDER=${1:-$ROOT/build/vectors/sigv4}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fetch_botocore()
{
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
    --dest "$scratch/pip" botocore
  mkdir "$scratch/botocore"
  tar -xzf "$scratch"/pip/botocore-*.tar.gz -C "$scratch/botocore" --strip-components 4 \
    --wildcards '*/tests/unit/auth/aws4_testsuite'
}

# cargo resolves dependencies before it hands out any crate, so they come along and are dropped.
fetch_aws_sigv4()
{
  export CARGO_HOME=$scratch/cargo
  cargo init --quiet --vcs none --name fetch "$scratch/crate"
  (cd "$scratch/crate" && cargo add --quiet aws-sigv4 && cargo vendor --quiet >"$scratch/vendor.log")
  mv "$scratch/crate/vendor/aws-sigv4/aws-signing-test-suite" "$scratch/aws_sigv4"
  cp "$scratch/crate/vendor/aws-sigv4/LICENSE" "$scratch/aws_sigv4"
}

fetched=0
for suite in botocore aws_sigv4; do
  if [[ -e $FOLDER/$suite ]]; then
    echo "$suite: already in $FOLDER"
  # a subshell with set -e of its own: in a condition the outer one does not apply
  elif bash -c "set -euo pipefail; scratch=$scratch; $(declare -f "fetch_$suite"); fetch_$suite" \
    >"$scratch/$suite.log" 2>&1; then
    mkdir -p "$FOLDER"
    mv "$scratch/$suite" "$FOLDER/$suite"
    echo "$suite: fetched to $FOLDER"
  else
    echo "$suite: could not be fetched: $(tail -n 1 "$scratch/$suite.log")"
    continue
  fi
  fetched=$((fetched + 1))
done
[[ $fetched -gt 0 ]]
