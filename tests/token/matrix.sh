#!/bin/bash
# What each software token of Debian can do for this service, one row per KeySpec and usage, compared
# with tests/token/matrix.txt: a token that can more or less than it could is a finding.
#
#   tests/token/matrix.sh BUILD [--write]      BUILD holds tests/token_capability; --write: new table
#
# Tokens: softhsm2; nss as it is and with accept_extractable; opencryptoki, whose daemon runs out of
# sight of the system's (needs root). One that cannot be had prints a row that says why, and its rows
# are left out of the comparison.
set -u -o pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly ROOT PROGRAM=$1/tests/token_capability TABLE=$ROOT/tests/token/matrix.txt
source "$ROOT/provisioning/lib.sh"
umask 077
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
LIBRARIES=/usr/lib/$(uname -m)-linux-gnu
readonly LIBRARIES
absent=()

absent() # TOKEN REASON
{
  echo "token-capability token=$1 absent=\"$2\""
  absent+=("$1")
}

softhsm2()
{
  mkdir "$scratch/softhsm2"
  make_token "$scratch/softhsm2" || return
  SOFTHSM2_CONF=$scratch/softhsm2/softhsm2.conf "$PROGRAM" softhsm2 /usr/lib/softhsm/libsofthsm2.so \
    "pkcs11:token=$TOKEN_LABEL" "$scratch/softhsm2/pin" "$scratch/softhsm2" strict
}

nss()
{
  local -r folder=$scratch/nss
  local strictness
  command -v certutil >/dev/null || { absent nss "package libnss3-tools is not installed"; return; }
  mkdir "$folder"
  random_pin >"$folder/pin"
  certutil -N -d "sql:$folder" -f "$folder/pin" || return
  for strictness in strict accept; do
    "$PROGRAM" "nss-$strictness" "$LIBRARIES/libsoftokn3.so" "pkcs11:token=NSS%20Certificate%20DB" \
      "$folder/pin" "$folder" "$strictness" \
      "configdir='sql:$folder' certPrefix='' keyPrefix='' secmod='secmod.db' flags=" || return
  done
}

opencryptoki()
{
  local -r folder=$scratch/opencryptoki
  local status
  mkdir "$folder"
  printf '7%06d\n' $((RANDOM * 30 + RANDOM)) >"$folder/pin"
  unshare --mount --ipc --pid --fork --kill-child "$ROOT/tests/support/opencryptoki.sh" "$folder" \
    hsmkms "$PROGRAM" opencryptoki "$LIBRARIES/opencryptoki/libopencryptoki.so.0" \
    pkcs11:token=hsmkms "$folder/pin" "$folder" strict >"$folder/out" 2>"$folder/errors"
  status=$?
  case $status in
    0) cat "$folder/out" ;;
    77) absent opencryptoki "$(tail -n 1 "$folder/out")" ;;
    *)
      cat "$folder/errors" >&2
      if [[ -s $folder/pkcsslotd.log ]]; then return "$status"; fi
      absent opencryptoki "no namespaces of its own: $(tail -n 1 "$folder/errors")"
      ;;
  esac
}

failed=0
for token in softhsm2 nss opencryptoki; do
  if ! "$token" >"$scratch/rows"; then
    echo "$token: went wrong"
    failed=1
  fi
  tee -a "$scratch/all" <"$scratch/rows"
done
if [[ ${2-} == --write ]]; then
  grep -v ' absent=' "$scratch/all" >"$TABLE"
  exit "$failed"
fi
expected=$(<"$TABLE")
for token in ${absent[@]+"${absent[@]}"}; do expected=$(grep -v "token=$token" <<<"$expected"); done
diff <(echo "$expected") <(grep -v ' absent=' "$scratch/all") || failed=1
exit "$failed"
