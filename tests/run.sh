#!/bin/bash
# Everything that is checked, in one go, on Debian 12: builds, unit and token tests, sanitizers,
# fuzzers for a short time, style, and the end-to-end suites with real clients.
#
#   tests/run.sh [SECTION ...]
#
# Sections: packages release style asan tsan fuzz e2e-plain e2e-tls e2e-asan e2e-tsan; all by default.
# A step that fails does not stop the others. The last line is "N passed, N failed"; exit status 1
# when anything failed. What each step printed is kept in build/test-logs/.
# Environment: FUZZ_SECONDS (10) for each fuzz target; JOBS (number of processors) for what computes;
# WAITING_JOBS (twice as many) for tests, which wait more than they compute.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
source provisioning/packages.sh

readonly LOGS=$PWD/build/test-logs
: "${FUZZ_SECONDS:=10}" "${JOBS:=$(nproc)}" "${WAITING_JOBS:=$((2 * JOBS))}"
passed=0
failed=0
failures=()

count() # NAME PASSED FAILED
{
  passed=$((passed + $2))
  failed=$((failed + $3))
  (($3 == 0)) || failures+=("$1: $3 failed")
}

# Runs a command with its output in a log; shows the end of it when it fails.
logged() # NAME COMMAND...
{
  local -r log=$LOGS/$1.log
  shift
  if "$@" >"$log" 2>&1; then
    return 0
  fi
  tail -n "${TAIL:-25}" "$log"
  echo "(all of it: $log)"
  return 1
}

# A step that either works or does not.
step() # NAME COMMAND...
{
  if logged "$@"; then count "$1" 1 0; else count "$1" 0 1; fi
}

build() # PRESET [TARGET...]
{
  local -r preset=$1
  shift
  ! command -v ccache >/dev/null || export CMAKE_C_COMPILER_LAUNCHER=ccache # read by new folders
  cmake --preset "$preset" && cmake --build --preset "$preset" -j "$JOBS" ${1+--target "$@"} -- -k 0
}

# Adds the numbers of a ctest run.
run_ctest() # NAME PRESET [ctest options]
{
  local -r name=$1 preset=$2
  local line bad total
  shift 2
  logged "$name" ctest --test-dir "build/$preset" -j "$WAITING_JOBS" --output-on-failure --timeout 600 "$@"
  line=$(grep -E 'tests failed out of|tests passed, 0 tests failed' "$LOGS/$name.log" | tail -n 1)
  bad=$(sed -nE 's/.*, ([0-9]+) tests? failed.*/\1/p' <<<"$line")
  total=$(sed -nE 's/.*out of ([0-9]+).*/\1/p' <<<"$line")
  if [[ -z $total ]]; then count "$name" 0 1; else count "$name" $((total - bad)) "$bad"; fi
}

# Adds the numbers of a pytest run against the programs of a preset.
run_e2e() # NAME PRESET [VARIABLE=VALUE...]
{
  local -r name=$1 preset=$2 report=$LOGS/$1.xml
  local numbers
  shift 2
  rm -f "$report"
  logged "$name" env PYTHONDONTWRITEBYTECODE=1 HSMKMS_BUILD="$PWD/build/$preset" \
    NODE_PATH="$PWD/build/node/node_modules" "$@" \
    /usr/bin/python3 -m pytest tests/api -c tests/api/pytest.ini --rootdir tests/api --tb=short -rsfE \
    -n "$WAITING_JOBS" --dist loadgroup --junitxml "$report"
  numbers=$(/usr/bin/python3 tests/api/report.py "$report") || numbers="0 1"
  # shellcheck disable=SC2086 # two numbers
  count "$name" ${numbers%%$'\n'*}
  [[ $numbers != *$'\n'* ]] || failures+=("${numbers#*$'\n'}")
  tail -n 1 "$LOGS/$name.log"
}

# The JavaScript client, at the versions of package-lock.json, below build/.
install_node_packages()
{
  [[ ! build/node/node_modules/.package-lock.json -nt tests/api/node/package-lock.json ]] || return 0
  mkdir -p build/node && cp tests/api/node/package*.json build/node/ &&
    npm ci --prefix build/node --no-audit --no-fund --ignore-scripts
}

# The newest public model of the API, at the version of botocore.txt, below build/.
install_model()
{
  [[ ! build/botocore/botocore -nt tests/api/botocore.txt ]] || return 0
  rm -rf build/botocore && /usr/bin/python3 -m pip install --quiet --no-deps --require-hashes \
    --target build/botocore --requirement tests/api/botocore.txt && touch build/botocore/botocore
}

section_packages()
{
  step packages packages_install "${PACKAGES_BUILD[@]}" "${PACKAGES_RUN[@]}" "${PACKAGES_TEST[@]}"
  if ! command -v npm >/dev/null; then step npm packages_install npm; fi
  logged ccache packages_install ccache || echo "ccache: not to be had here"
  step node-packages install_node_packages
  # what cannot be had is skipped by its test, which says why
  logged ruby packages_install ruby-aws-sdk-kms || echo "AWS SDK for Ruby: not to be had here"
  logged opencryptoki packages_install opencryptoki || echo "openCryptoki: not to be had here"
  logged model install_model || echo "the newest model of the API: not to be had here"
  tests/api/clients.sh # Java, Rust, Go, Encryption SDK; a line for each
  # without them the suite of public vectors prints why it was skipped
  logged wycheproof tests/vectors/fetch_wycheproof.sh || echo "Wycheproof's vectors: not to be had here"
  logged sigv4-vectors tests/vectors/fetch_sigv4.sh || echo "public SigV4 vectors: not to be had here"
}

section_style()
{
  TAIL=80 step style tests/style/check.sh build/release
}

section_release()
{
  step build-release build release
  run_ctest ctest-release release -LE style
}

section_asan()
{
  step build-asan build asan
  ASAN_OPTIONS=$ASAN run_ctest ctest-asan asan -LE style
}

section_tsan()
{
  step build-tsan build tsan
  TSAN_OPTIONS=$TSAN run_ctest ctest-tsan tsan -LE 'style|fuzz|one-thread'
}

fuzz() # TARGET PARSER
{
  local -r corpus=tests/fuzz/corpus/$2
  local scratch status
  scratch=$(mktemp -d)
  mkdir -p "$corpus"
  logged "fuzz-$2" "$1" -max_total_time="$FUZZ_SECONDS" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$LOGS/" "$scratch" "$corpus"
  status=$?
  rmdir --ignore-fail-on-non-empty "$corpus"
  rm -rf "$scratch"
  return "$status"
}

section_fuzz()
{
  local -A pids=()
  local target parser
  step build-fuzz build fuzz fuzzers
  run_ctest ctest-fuzz fuzz -L fuzz
  for target in build/fuzz/tests/fuzz/fuzz_*; do
    [[ -f $target && -x $target ]] || continue
    while (($(jobs -pr | wc -l) >= JOBS)); do sleep 0.1; done
    parser=${target##*/fuzz_}
    fuzz "$target" "$parser" &
    pids[$parser]=$!
  done
  for parser in "${!pids[@]}"; do
    if wait "${pids[$parser]}"; then count "fuzz-$parser" 1 0; else count "fuzz-$parser" 0 1; fi
  done
}

section_e2e-plain()
{
  run_e2e e2e-plain release
}

section_e2e-tls()
{
  run_e2e e2e-tls release HSMKMS_E2E_TLS=1
}

section_e2e-asan()
{
  run_e2e e2e-asan asan HSMKMS_E2E_SANITIZED=1 ASAN_OPTIONS="$ASAN"
}

section_e2e-tsan()
{
  run_e2e e2e-tsan tsan HSMKMS_E2E_SANITIZED=1 HSMKMS_E2E_TLS=1 TSAN_OPTIONS="$TSAN"
}

suppressions() # FILE
{
  [[ ! -f $PWD/tests/$1 ]] || echo ":suppressions=$PWD/tests/$1"
}
ASAN=detect_leaks=1:strict_string_checks=1
TSAN=halt_on_error=0:second_deadlock_stack=1$(suppressions tsan.supp)

mkdir -p "$LOGS"
readonly ALL=(packages release style asan tsan fuzz e2e-plain e2e-tls e2e-asan e2e-tsan)
sections=("$@")
((${#sections[@]})) || sections=("${ALL[@]}")
begun=$SECONDS
for section in "${sections[@]}"; do
  [[ " ${ALL[*]} " == *" $section "* ]] || { echo "there is no section $section" >&2; exit 2; }
  section_begun=$SECONDS
  printf '== %s\n' "$section"
  "section_$section"
  printf -- '-- %s: %d s; %d passed, %d failed so far\n' \
    "$section" $((SECONDS - section_begun)) "$passed" "$failed"
done
printf '== %d s in all\n' $((SECONDS - begun))
((${#failures[@]} == 0)) || printf '%s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
((failed == 0))
