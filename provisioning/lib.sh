# shellcheck shell=bash
# What quickstart.sh and rig.sh share: a SoftHSM2 token, a certificate, a configuration, a daemon
# started and stopped by its own process id. Sourced, not run. Every function takes the folder of
# one installation first:
#
#   DIR/token/            the SoftHSM2 tokens         DIR/pin DIR/so-pin     PINs of the first
#   DIR/CLUSTER.pin, .so-pin                          PINs of one for a custom key store
#   DIR/state/            database, admin socket      DIR/audit/             audit segments
#   DIR/tls/              certificate, key, CA        DIR/hsmkms.conf        the configuration
#   DIR/transit.json      a token for the transit dialect, where it is served
#   DIR/credential.json   first access key            DIR/daemon.{pid,log}   the running daemon
#
# Environment: HSMKMS_BUILD  folder of the programs, default the release build
#              HSMKMS_MODULE PKCS#11 module, default Debian's SoftHSM2
#              HSMKMS_RUN    words put before the daemon's command line (a debugger, faketime)

HSMKMS_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
: "${HSMKMS_BUILD:=$HSMKMS_ROOT/build/release}"
: "${HSMKMS_MODULE:=/usr/lib/softhsm/libsofthsm2.so}"
readonly HSMKMS_ROOT HSMKMS_BUILD HSMKMS_MODULE
readonly TOKEN_LABEL=hsmkms
readonly REGION=us-east-1

die()
{
  echo "${0##*/}: $*" >&2
  exit 1
}

# 128 random bits as text.
random_pin()
{
  od -An -N16 -v -tx1 /dev/urandom | tr -d ' \n'
}

# Free ports of the loopback address, as many as asked for. They lie below the range from which the
# kernel takes the ports of outgoing connections, so that a stopped daemon finds its own free again;
# HSMKMS_PORTS (FIRST-END) narrows the choice for who works beside others.
free_ports() # COUNT
{
  /usr/bin/python3 -c '
import os, random, socket, sys
first, end = map(int, os.environ.get("HSMKMS_PORTS", "15000-32768").split("-"))
held = []
while len(held) < int(sys.argv[1]):
    try:
        held.append(socket.create_server(("127.0.0.1", random.randrange(first, end))))
    except OSError:
        pass
print(*(s.getsockname()[1] for s in held))' "$1"
}

make_token() # DIR
{
  local dir=$1
  mkdir -p "$dir/token"
  cat >"$dir/softhsm2.conf" <<CONF
directories.tokendir = $dir/token
objectstore.backend = file
log.level = ERROR
slots.removable = false
CONF
  random_pin >"$dir/so-pin"
  random_pin >"$dir/pin"
  SOFTHSM2_CONF=$dir/softhsm2.conf /usr/bin/python3 "$HSMKMS_ROOT/provisioning/init_softhsm.py" \
    /usr/lib/softhsm/libsofthsm2.so "$TOKEN_LABEL" "$dir/so-pin" "$dir/pin"
}

# A further token beside the first one, for a custom key store; its section of the configuration on
# standard output. CLUSTER is its label and its CloudHsmClusterId.
make_store_token() # DIR CLUSTER
{
  local dir=$1 cluster=$2
  random_pin >"$dir/$cluster.so-pin"
  random_pin >"$dir/$cluster.pin"
  SOFTHSM2_CONF=$dir/softhsm2.conf /usr/bin/python3 "$HSMKMS_ROOT/provisioning/init_softhsm.py" \
    /usr/lib/softhsm/libsofthsm2.so "$cluster" "$dir/$cluster.so-pin" "$dir/$cluster.pin" || return
  printf '[token.%s]\nmodule = %s\nuri = pkcs11:token=%s\npin_file = %s\n' \
    "$cluster" "$HSMKMS_MODULE" "$cluster" "$dir/$cluster.pin"
}

make_certificate() # DIR
{
  mkdir -p "$1/tls"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -subj /CN=localhost \
    -addext "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1" -addext extendedKeyUsage=serverAuth \
    -addext basicConstraints=critical,CA:FALSE \
    -keyout "$1/tls/key.pem" -out "$1/tls/certificate.pem" 2>"$1/tls/openssl.log" ||
    die "no certificate, see $1/tls/openssl.log"
}

# The same with the key in a token of its own, beside the one of the master keys.
make_certificate_of_token() # DIR ec|rsa
{
  local -r tool=$HSMKMS_ROOT/provisioning/tls_key.sh
  mkdir -p "$1/tls"
  local -rx SOFTHSM2_CONF=$1/softhsm2.conf
  "$tool" token "$1/tls" && "$tool" key "$1/tls" "$2" && "$tool" request "$1/tls" &&
    "$tool" sign "$1/tls" "$1/tls" && "$tool" settings "$1/tls" >"$1/tls/settings"
}

# What of [https] says where certificate and key are; nothing when there are none.
certificate_settings() # DIR
{
  if [[ -s $1/tls/settings ]]; then
    cat "$1/tls/settings"
  elif [[ -s $1/tls/certificate.pem ]]; then
    printf '%s = %s\n' certificate "$1/tls/certificate.pem" key "$1/tls/key.pem"
  fi
}

# Writes DIR/hsmkms.conf. PLAIN and TLS are ports, 0 for none; DOORS is what both serve; EXTRA is more
# text for the end.
make_configuration() # DIR PLAIN TLS OPS EXTRA [DOORS]
{
  local dir=$1 plain=$2 tls=$3 ops=$4 extra=$5 doors=${6:-aws}
  mkdir -p "$dir/state" "$dir/audit"
  {
    printf '[service]\nstate_dir = %s\nregions = %s\n' "$dir/state" "$REGION"
    ((plain == 0)) || printf '[http]\nport = %s\ndoors = %s\n' "$plain" "$doors"
    printf '[https]\n'
    certificate_settings "$dir"
    ((tls == 0)) || printf 'port = %s\ndoors = %s\n' "$tls" "$doors"
    printf '[ops]\nport = %s\n' "$ops"
    printf '[token]\nmodule = %s\nuri = pkcs11:token=%s\npin_file = %s\n' \
      "$HSMKMS_MODULE" "$TOKEN_LABEL" "$dir/pin"
    printf '[audit]\ndir = %s\n' "$dir/audit"
    printf '[admin]\nsocket = %s\n' "$dir/state/admin.sock"
    [[ -z $extra ]] || printf '%s\n' "$extra"
  } >"$dir/hsmkms.conf"
}

# The service's own token keys, the database and the first access key; once per installation.
make_installation() # DIR
{
  [[ ! -s $1/credential.json ]] || return 0
  SOFTHSM2_CONF=$1/softhsm2.conf "$HSMKMS_BUILD/hsmkms-admin" init --config "$1/hsmkms.conf" \
    >"$1/credential.json.new" || return
  mv "$1/credential.json.new" "$1/credential.json"
}

# A token of the account root, made once by a running daemon.
make_transit_token() # DIR
{
  local i
  [[ ! -s $1/transit.json ]] || return 0
  for ((i = 0; i < 250; i++)); do # the administration socket opens last
    "$HSMKMS_BUILD/hsmkms-admin" --socket "$1/state/admin.sock" token create --label rig \
      >"$1/transit.json.new" 2>/dev/null && mv "$1/transit.json.new" "$1/transit.json" && return
    sleep 0.04
  done
  return 1
}

json_member() # FILE MEMBER
{
  /usr/bin/python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$@"
}

credential() # DIR MEMBER
{
  json_member "$1/credential.json" "$2"
}

# First value of a setting in the configuration, or nothing.
setting() # DIR SECTION NAME
{
  awk -v section="[$2]" -v name="$3" '
    /^\[/ { current = $0 } current == section && $1 == name && $2 == "=" { print $3; exit }' \
    "$1/hsmkms.conf"
}

# Everything behind a name in the configuration, whatever its section; the first there is.
setting_line() # DIR NAME
{
  sed -n "s/^$2 *= *//p" "$1/hsmkms.conf" | head -n 1
}

# "running PID" or "ending PID"; fails when there is no daemon. A process that only waits to be reaped
# is none, but one that is ending is there as long as it may hold its files: it is killed and does not
# know it yet, or its memory is gone and its command line with it, or its first thread has ended and
# others have not. A recycled id whose command line does not name our configuration is not ours. The
# command line is read first: once it is gone, the state that is read after it says so too.
daemon_state() # DIR
{
  local -ri exiting=0x4 kill=0x100 # PF_EXITING, the bit of SIGKILL
  local pid state flags pending threads command
  [[ -s $1/daemon.pid ]] || return 1
  pid=$(<"$1/daemon.pid")
  command=$(cat "/proc/$pid/cmdline" 2>/dev/null | tr '\0' '\n')
  pending=$(sed -n 's/^SigPnd:[[:space:]]*/0x/p' "/proc/$pid/status" 2>/dev/null)
  read -r state _ _ _ _ _ flags _ < <(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null) || return 1
  if [[ $state == [ZX] ]]; then
    threads=("/proc/$pid/task"/*)
    ((${#threads[@]} > 1)) || return 1
    echo "ending $pid"
  elif ((flags & exiting || ${pending:-0} & kill)); then
    echo "ending $pid"
  elif grep -qxF "$1/hsmkms.conf" <<<"$command"; then
    echo "running $pid"
  else
    return 1
  fi
}

# The process id of a daemon that is there, be it running or ending.
daemon_pid() # DIR
{
  local state
  state=$(daemon_state "$1") || return 1
  echo "${state#* }"
}

# Waits for a daemon that is ending; whether one is there that is not.
daemon_runs() # DIR
{
  local state i
  for ((i = 0; i < 1500; i++)); do
    state=$(daemon_state "$1") || return 1
    [[ $state == ending* ]] || return 0
    sleep 0.02
  done
  die "process ${state#* } does not end"
}

daemon_port() # DIR
{
  local port
  port=$(setting "$1" https port)
  [[ -n $port ]] || port=$(setting "$1" http port)
  echo "$port"
}

# It listens and has said that all of it is up: the administration socket comes last.
daemon_is_ready() # DIR PORT SIZE (of the log before the start)
{
  (: <>"/dev/tcp/127.0.0.1/$2") 2>/dev/null || return 1
  [[ $(setting "$1" log level) != @(error|warn) ]] || return 0
  tail -c "+$(($3 + 1))" "$1/daemon.log" | grep -qF ' event=ready '
}

# Starts the daemon and waits until it accepts connections; else returns its exit status.
daemon_start() # DIR
{
  local dir=$1 port pid from run=()
  ! daemon_runs "$dir" || return 0
  from=$(stat -c %s "$dir/daemon.log" 2>/dev/null || echo 0)
  read -r -a run <<<"${HSMKMS_RUN-}"
  SOFTHSM2_CONF=$dir/softhsm2.conf setsid "${run[@]}" \
    "$HSMKMS_BUILD/hsmkmsd" --config "$dir/hsmkms.conf" </dev/null >>"$dir/daemon.log" 2>&1 &
  pid=$!
  echo "$pid" >"$dir/daemon.pid"
  port=$(daemon_port "$dir")
  for ((i = 0; i < 1500; i++)); do # 60 s: sanitizer builds on a busy machine
    if ! kill -0 "$pid" 2>/dev/null; then
      wait "$pid"
      return
    fi
    if daemon_is_ready "$dir" "$port" "$from"; then
      disown "$pid"
      return 0
    fi
    sleep 0.04
  done
  echo "${0##*/}: the daemon does not listen on port $port, see $dir/daemon.log" >&2
  kill -KILL "$pid"
  return 1
}

# Sends a signal and waits until the process is gone.
daemon_end() # DIR SIGNAL
{
  local pid
  pid=$(daemon_pid "$1") || return 0
  kill "-$2" "$pid"
  for ((i = 0; i < 1500; i++)); do
    daemon_pid "$1" >/dev/null || return 0
    sleep 0.02
  done
  echo "${0##*/}: process $pid does not end" >&2
  return 1
}

# Shell lines that point an AWS client at this installation.
print_environment() # DIR
{
  local dir=$1 port url kes authority=$1/tls/certificate.pem
  [[ ! -s $dir/tls/ca.pem ]] || authority=$dir/tls/ca.pem
  kes=$(setting "$dir" kes port)
  port=$(setting "$dir" https port)
  if [[ -n $port ]]; then
    url=https://127.0.0.1:$port
    printf 'export AWS_CA_BUNDLE=%q\n' "$authority"
  else
    url=http://127.0.0.1:$(setting "$dir" http port)
  fi
  printf 'export %s=%q\n' \
    AWS_ENDPOINT_URL_KMS "$url" \
    AWS_ENDPOINT_URL_STS "$url" \
    AWS_ACCESS_KEY_ID "$(credential "$dir" AccessKeyId)" \
    AWS_SECRET_ACCESS_KEY "$(credential "$dir" SecretAccessKey)" \
    AWS_DEFAULT_REGION "$REGION" \
    HSMKMS_DIR "$dir" \
    HSMKMS_PID "$(daemon_pid "$dir" || true)" \
    HSMKMS_CONFIG "$dir/hsmkms.conf" \
    HSMKMS_OPS_URL "http://127.0.0.1:$(setting "$dir" ops port)" \
    HSMKMS_AUDIT_DIR "$dir/audit" \
    HSMKMS_ADMIN "$HSMKMS_BUILD/hsmkms-admin --socket $dir/state/admin.sock" \
    SOFTHSM2_CONF "$dir/softhsm2.conf" \
    HSMKMS_PIN_FILE "$dir/pin"
  [[ -z $kes ]] || printf 'export %s=%q\n' HSMKMS_KES_ADDR "127.0.0.1:$kes" HSMKMS_KES_CA "$authority"
  [[ ! -s $dir/transit.json ]] || printf 'export %s=%q\n' \
    HSMKMS_TRANSIT_ADDR "$url" \
    HSMKMS_TRANSIT_TOKEN "$(json_member "$dir/transit.json" Token)"
}
