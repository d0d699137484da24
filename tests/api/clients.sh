#!/bin/bash
# Builds the client programs of tests/api/test_sdk_journeys.py below build/clients/, side by side,
# from their registries at the versions that the files beside their sources fix.
#
#   tests/api/clients.sh [java] [rust] [go] [encryption_sdk]      all by default
#
# Prints a line per client: seconds it took, or why it is not to be had, and then its tests are
# skipped. Exit status 0 in both cases; logs are kept beside the programs.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
source provisioning/packages.sh
readonly SOURCES=$PWD/tests/api CLIENTS=$PWD/build/clients

# Debian's tools where the machine has no others.
tool() # COMMAND PACKAGE...
{
  local -r command=$1
  shift
  command -v "$command" >/dev/null || packages_install "$@"
}

build_java()
{
  local -r folder=$CLIENTS/java plugin=org.apache.maven.plugins:maven-dependency-plugin:3.6.1
  tool javac openjdk-17-jdk-headless && tool mvn maven || return
  if [[ ! $folder/lib -nt $SOURCES/java/pom.xml ]]; then
    rm -rf "${folder:?}/lib"
    mvn -B -q -ntp -f "$SOURCES/java/pom.xml" "$plugin:copy-dependencies" \
      -DoutputDirectory="$folder/lib" || return
    touch "$folder/lib"
  fi
  javac -proc:none -d "$folder" -cp "$folder/lib/*" "$SOURCES/java/Journey.java"
}

build_rust()
{
  tool cargo cargo-web || return
  CARGO_TARGET_DIR=$CLIENTS/rust cargo build --locked --manifest-path "$SOURCES/rust/Cargo.toml"
}

build_go()
{
  tool go golang-go || return
  (cd "$SOURCES/go" && GOFLAGS=-mod=readonly go build -o "$CLIENTS/go/" . ./sops ./unseal)
}

build_encryption_sdk()
{
  local -r folder=$CLIENTS/encryption_sdk list=$SOURCES/encryption_sdk/requirements.txt
  [[ ! $folder/aws_encryption_sdk -nt $list ]] || return 0
  rm -rf "$folder"
  /usr/bin/python3 -m pip install -q --disable-pip-version-check --no-deps --target "$folder" -r "$list" &&
    touch "$folder/aws_encryption_sdk"
}

build() # NAME
{
  local -r log=$CLIENTS/$1.log begun=$SECONDS
  if "build_$1" >"$log" 2>&1; then
    echo "$1: built in $((SECONDS - begun)) s"
  else
    echo "$1: not to be had here: $(grep -vE '^ *$|^\[ERROR\] *(\[Help|$)' "$log" | tail -n 1)"
  fi
}

names=("$@")
((${#names[@]})) || names=(java rust go encryption_sdk)
mkdir -p "$CLIENTS/go"
for name in "${names[@]}"; do
  declare -F "build_$name" >/dev/null || { echo "there is no client $name" >&2; exit 2; }
  build "$name" &
done
wait
