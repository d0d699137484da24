#!/bin/bash
# Greps for our own mistakes. Usage: check.sh [BUILD FOLDER]
#
# Prints each finding as file:line: what; exit status 1 if there is one. With a build folder that
# holds hsmkmsd the settings' reference page is compared too.
set -u -o pipefail
shopt -s nullglob lastpipe # the last part of a pipeline counts in this shell
export LC_ALL=C.UTF-8
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
readonly BUILD=${1-}
findings=0

finding()
{
  echo "$*"
  findings=$((findings + 1))
}

# Reports each line of standard input.
findings_from() # WHAT
{
  local line
  while IFS= read -r line; do
    finding "$line  <- $1"
  done
}

mapfile -t SOURCES < <(find hsmkms pkcs11 provisioning tests -name '*.[ch]' | sort)
mapfile -t SHELL_SCRIPTS < <(find provisioning tests -name '*.sh'; find .ci -type f 2>/dev/null)
mapfile -t PYTHON < <(find provisioning tests -name '*.py' -not -path '*/node_modules/*')

# What each folder may include of ours. Nothing points up; keys, iam and audit do not meet.
declare -rA MAY_INCLUDE=(
  [hsmkms/base]="base"
  [hsmkms/crypto]="base crypto"
  [pkcs11]="base pkcs11"
  [hsmkms/store]="base crypto store"
  [hsmkms/keys]="base crypto pkcs11 store keys"
  [hsmkms/iam]="base crypto pkcs11 store iam"
  [hsmkms/audit]="base crypto store audit"
  [hsmkms/api]="base crypto pkcs11 store keys iam audit api"
  [hsmkms/http]="base crypto pkcs11 iam http"
  [hsmkms/doors]="base crypto keys iam audit api http doors"
  [hsmkms/admin]="base crypto keys iam audit api http admin"
)

check_floors()
{
  local folder allowed name
  for folder in "${!MAY_INCLUDE[@]}"; do
    allowed=" ${MAY_INCLUDE[$folder]} "
    while IFS=: read -r file line text; do
      name=$(sed -E 's/.*"(hsmkms\/)?([a-z0-9]+)\/.*/\2/' <<<"$text")
      [[ $allowed == *" $name "* ]] || finding "$file:$line: $folder must not include $name/"
    done < <(grep -nE '^ *# *include +"' /dev/null "$folder"/*.[ch])
  done
}

# A library's header and the only files that may include it.
check_libraries()
{
  local header pattern
  while read -r header pattern; do
    grep -nE "^ *# *include +<$header" "${SOURCES[@]}" | grep -vE "^($pattern|tests/[^:]*):" |
      findings_from "<$header> belongs in $pattern"
  done <<'ROWS'
sqlite3\.h      hsmkms/store/db_sqlite\.c
microhttpd\.h   hsmkms/http/[a-z0-9_]+\.[ch]
gnutls/         (hsmkms/http/[a-z0-9_]+\.[ch]|hsmkms/[a-z0-9_]+\.[ch])
p11-kit/        pkcs11/[a-z0-9_]+\.[ch]
jansson\.h      (hsmkms/(admin|api|doors)/[a-z0-9_]+\.[ch]|hsmkms/[a-z0-9_]+\.[ch]|hsmkms/iam/(policy_parse|document|key_policy|grant_[a-z]+|session|session_token)\.[ch]|hsmkms/audit/(record|chain)\.[ch]|hsmkms/base/json_text\.[ch])
ini\.h          hsmkms/base/settings\.c
sodium\.h       (hsmkms/(base|crypto)|pkcs11)/[a-z0-9_]+\.[ch]
ROWS
}

# memcmp tells by its time how much was equal; a line that compares public bytes says so.
check_comparisons()
{
  grep -nE '\b(memcmp|bcmp|str(case)?n?cmp)\(.*\b(\w*secret\w*|pin|mac|signature|tag|password|plain)\b' \
    hsmkms/*.[ch] hsmkms/*/*.[ch] pkcs11/*.[ch] | grep -v 'public' |
    findings_from "constant time for secrets, or a comment that these bytes are public"
}

check_banned_words()
{
  local -r word='TO''DO|FIX''ME|HA''CK\b'
  grep -nE "\b($word)" "${SOURCES[@]}" "${SHELL_SCRIPTS[@]}" "${PYTHON[@]}" README.md SECURITY.md \
    docs/*.md CMakeLists.txt tests/CMakeLists.txt 2>/dev/null | findings_from "unfinished"
  grep -nE '/(wo''rk|ho''me|ro''ot)/[a-z]' "${SOURCES[@]}" "${SHELL_SCRIPTS[@]}" "${PYTHON[@]}" README.md \
    SECURITY.md docs/*.md CMakeLists.txt CMakePresets.json 2>/dev/null |
    findings_from "path of one machine"
  grep -nE '\b(strcpy|strcat|sprintf|gets|alloca|strtok|system|popen)\(' hsmkms/*.c hsmkms/*/*.c \
    pkcs11/*.c | findings_from "not used here"
}

# A header that needs another one included first is a trap for whoever includes it.
check_headers_alone()
{
  local header flags
  read -r -a flags < <(pkg-config --cflags libmicrohttpd gnutls jansson p11-kit-1 libsodium sqlite3)
  for header in hsmkms/*.h hsmkms/*/*.h pkcs11/*.h; do
    grep -q '^#pragma once' "$header" || finding "$header:1: #pragma once is missing"
    "${CC:-cc}" -std=c17 -D_GNU_SOURCE -I. "${flags[@]}" -fsyntax-only -x c \
      -include "$header" /dev/null 2>&1 | grep -E 'error' | findings_from "$header alone"
  done
}

# A file stays readable in one sitting.
check_sizes()
{
  local file lines
  for file in hsmkms/*.[ch] hsmkms/*/*.[ch] pkcs11/*.[ch]; do
    lines=$(wc -l <"$file")
    ((lines <= 550)) || finding "$file: $lines lines"
  done
  awk 'FNR == 1 { table = 0 } /clang-format off/ { table = 1 } /clang-format on/ { table = 0 }
    length > (table ? 200 : 110) { print FILENAME ":" FNR ": " length " columns" }' "${SOURCES[@]}" |
    findings_from "too long"
  grep -nP '\t| +$' "${SOURCES[@]}" "${SHELL_SCRIPTS[@]}" "${PYTHON[@]}" |
    findings_from "tab or blank at the end of a line"
}

check_settings_page()
{
  [[ -n $BUILD && -x $BUILD/hsmkmsd ]] || return 0
  diff <("$BUILD/hsmkmsd" --settings-reference) <(grep '^|' docs/SETTINGS.md) |
    findings_from "docs/SETTINGS.md is not what hsmkmsd --settings-reference prints"
}

check_scripts()
{
  local script
  for script in "${SHELL_SCRIPTS[@]}"; do
    bash -n "$script" 2>&1 | findings_from "bash -n"
  done
  if command -v shellcheck >/dev/null; then
    shellcheck --shell=bash --severity=warning --external-sources --source-path=SCRIPTDIR --format=gcc \
      --exclude=SC1091,SC2034 "${SHELL_SCRIPTS[@]}" | findings_from shellcheck
  fi
  for script in "${PYTHON[@]}"; do
    /usr/bin/python3 -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' \
      "$script" 2>&1 | findings_from "not Python"
  done
}

check_floors
check_libraries
check_comparisons
check_banned_words
check_headers_alone
check_sizes
check_settings_page
check_scripts

((findings == 0)) || { echo "$findings findings"; exit 1; }
