#!/bin/bash
# Runs a command beside openCryptoki's software token, with its daemon, out of everybody's sight:
#
#   unshare --mount --ipc --pid --fork --kill-child tests/support/opencryptoki.sh DIR LABEL COMMAND...
#
# The PIN, 4 to 8 characters and not one of the defaults, is read from DIR/pin. Files of the daemon
# lie in DIR; they are mounted over the system's for this process and its children only, which end
# with it. Exit status: that of the command; 77 when the daemon cannot be had, with the reason on
# standard output.
set -u
readonly DIR=$1 LABEL=$2 SLOT=3 SO_FIRST=87654321 # PIN of a new token, the same everywhere
shift 2
so_pin=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ' | cut -c-8)
so_pin=9${so_pin:1:6}
read -r user_pin <"$DIR/pin"

cannot()
{
  printf '%s\n' "$1"
  exit 77
}

lay_over() # FOLDER
{
  if ! { mkdir -p "$1" "$DIR$1" && mount --bind "$DIR$1" "$1"; }; then cannot "cannot mount over $1"; fi
}

# Answers prompts; no PIN is in a command line.
configure() # LINES OPTION...
{
  local -r lines=$1
  shift
  pkcsconf -c "$SLOT" "$@" <<<"$lines" >>"$DIR/pkcsconf.log" 2>&1 ||
    cannot "pkcsconf $*: $(tail -n 1 "$DIR/pkcsconf.log")"
}

command -v pkcsslotd pkcsconf >/dev/null || cannot "package opencryptoki is not installed"
for folder in /run/opencryptoki /var/lib/opencryptoki /run/lock/opencryptoki; do lay_over "$folder"; done
mkdir -p /var/lib/opencryptoki/swtok/TOK_OBJ /run/lock/opencryptoki/swtok
chgrp -R pkcs11 /run/opencryptoki /var/lib/opencryptoki /run/lock/opencryptoki || cannot "no group pkcs11"
chmod -R 770 /run/opencryptoki /var/lib/opencryptoki /run/lock/opencryptoki

pkcsslotd -f >"$DIR/pkcsslotd.log" 2>&1 &
readonly DAEMON=$!
for ((i = 0; i < 100; i++)); do
  kill -0 "$DAEMON" 2>/dev/null || cannot "pkcsslotd did not start: $(tail -n 1 "$DIR/pkcsslotd.log")"
  ! pkcsconf -t -c "$SLOT" >/dev/null 2>&1 || break
  sleep 0.05
done
configure "$SO_FIRST"$'\n'"$LABEL" -I
configure "$SO_FIRST"$'\n'"$so_pin"$'\n'"$so_pin" -P
configure "$so_pin"$'\n'"$user_pin"$'\n'"$user_pin" -u

"$@"
status=$?
kill "$DAEMON"
wait "$DAEMON" 2>/dev/null
exit "$status"
