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

# What each client is built with: command and Debian package, where the machine has no other.
readonly -A TOOLS=(
  [java]="javac=openjdk-17-jdk-headless mvn=maven"
  [rust]="cargo=cargo-web"
  [go]="go=golang-go"
  [encryption_sdk]=""
)

# One client after the other: apt works for one caller at a time.
install_tools() # NAME
{
  local tool
  for tool in ${TOOLS[$1]}; do
    command -v "${tool%%=*}" >/dev/null || packages_install "${tool#*=}" || return
  done
}

build_java()
{
  local -r folder=$CLIENTS/java plugin=org.apache.maven.plugins:maven-dependency-plugin:3.6.1
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
  CARGO_TARGET_DIR=$CLIENTS/rust cargo build --locked --manifest-path "$SOURCES/rust/Cargo.toml"
}

# Debian's own Go is older than the SDK wants, but can fetch a newer one as a module.
go_command()
{
  local -r wanted=1.24.0
  local folder version
  version=$(go env GOVERSION)
  if [[ $(printf '%s\n' "go$wanted" "$version" | sort -V | head -n 1) == "go$wanted" ]]; then
    echo go
    return
  fi
  version=v0.0.1-go$wanted.$(go env GOOS)-$(go env GOARCH)
  folder=$(go env GOMODCACHE)/golang.org/toolchain@$version
  [[ -x $folder/bin/go ]] || {
    (cd "$CLIENTS" && GOFLAGS=-mod=mod go mod download "golang.org/toolchain@$version") >&2 || return
    chmod -R u+w "$folder" && chmod +x "$folder"/bin/* "$folder"/pkg/tool/*/* || return
  }
  echo "$folder/bin/go"
}

build_go()
{
  local go
  go=$(go_command) || return
  export GOFLAGS=-mod=readonly
  (cd "$SOURCES/go" && "$go" build -o "$CLIENTS/go/" . ./sops ./unseal) &&
    (cd "$SOURCES/go_kes" && "$go" build -o "$CLIENTS/go/kes" .)
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
  if "build_$1" >>"$log" 2>&1; then
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
  install_tools "$name" >"$CLIENTS/$name.log" 2>&1
done
for name in "${names[@]}"; do
  build "$name" &
done
wait
