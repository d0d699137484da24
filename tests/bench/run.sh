#!/bin/bash
# Measures, in one run on one machine: the token alone, a bare HTTP server that makes one data key
# per request, and the daemon with everything on. Figures are meant as ratios of the same run.
#
#   tests/bench/run.sh [--seconds N] [--keys N] [--stress N] [--grants N] [--only PART,...]
#                      [--json FILE]
#
#   --seconds  length of one measurement, default 5
#   --keys     also: start and memory with N keys in the token (10,000 take minutes to make)
#   --stress   also: N requests at 16, 64 and 256 connections, plain and TLS; none may be lost and
#              no connection may starve
#   --grants   most grants on one key, default 1,000; the row of 50,000 needs --grants 50000 and
#              minutes to make them
#   --only     of token, ratio, operations, transit, policy, grants, idle, keys, stress, handshakes
#   --json     writes all rows there
#
# Builds the release preset. Load goes to loopback only.
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cmake --preset release >/dev/null
cmake --build --preset release --target hsmkmsd hsmkms-admin floor_server token_loop load \
  handshakes policy_bench >/dev/null
exec /usr/bin/python3 tests/bench/bench.py build/release "$@"
