#!/bin/bash
# A disposable key service for test suites: own token, database, credential and port in one folder,
# ready in about a second; several run side by side.
#
#   eval "$(provisioning/rig.sh up DIR [--port N] [--tls] [--tls-key ec|rsa] [--store CLUSTER] [--conf EXTRA])"
#   provisioning/rig.sh stop|start|kill|status|env|down DIR
#
#   up      makes DIR (again: starts it), starts the daemon, prints export lines
#   stop    SIGTERM and wait      kill    SIGKILL      start   starts what was stopped or killed
#   status  running or stopped    env     the export lines again
#   down    kills the daemon and removes DIR
#   --port  port to listen on; 0 or none: a free one
#   --tls   HTTPS with a certificate of its own; AWS_CA_BUNDLE is exported
#   --tls-key  the same with the private key in a second SoftHSM2 token, see tls_key.sh
#   --bare  AWS dialects alone, for suites that count records or ports. Without it the same listener
#           speaks the transit dialect too (HSMKMS_TRANSIT_ADDR, HSMKMS_TRANSIT_TOKEN, of the account
#           root), and a TLS listener serves clients of MinIO KES (HSMKMS_KES_ADDR, HSMKMS_KES_CA;
#           they are known by certificates that hsmkms-admin binds). After --bare, --transit brings
#           the first back, --tls the second
#   --store a further SoftHSM2 token for a custom key store, named by its CloudHsmClusterId; may be
#           given several times
#   --conf  more lines for the configuration, or a file of such lines; may be given several times
#
# Exit status of up and start: that of a daemon that does not start, see README.
# Environment: see provisioning/lib.sh. Needs softhsm2, openssl, python3 and a finished build.
set -u -o pipefail
umask 077
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage()
{
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

show_failure() # DIR STATUS
{
  echo "rig.sh: the daemon did not start (status $2), last lines of $1/daemon.log:" >&2
  tail -n 5 "$1/daemon.log" >&2
}

start() # DIR
{
  daemon_start "$1"
  local -r status=$?
  ((status == 0)) || show_failure "$1" "$status"
  return "$status"
}

up() # DIR [options]
{
  local dir=$1 port=0 tls=no tls_key=file bare=no transit=no extra="" doors=aws stores=()
  local store plain https ops kes
  shift
  while (($#)); do
    case $1 in
      --port) port=${2-}; shift 2 ;;
      --tls) tls=yes; shift ;;
      --tls-key)
        [[ ${2-} == ec || ${2-} == rsa ]] || usage
        tls=yes tls_key=$2
        shift 2
        ;;
      --bare) bare=yes; shift ;;
      --transit) transit=yes; shift ;;
      --store) [[ -n ${2-} ]] || usage; stores+=("$2"); shift 2 ;;
      --conf)
        [[ -n ${2-} ]] || usage
        if [[ -f $2 ]]; then extra+=$(<"$2")$'\n'; else extra+=$2$'\n'; fi
        shift 2
        ;;
      *) usage ;;
    esac
  done
  [[ $port =~ ^[0-9]+$ ]] || usage
  if [[ ! -e $dir/rig ]]; then
    read -r ops plain kes < <(free_ports 3)
    ((port == 0)) || plain=$port
    https=0
    [[ $tls == no ]] || { https=$plain plain=0; }
    [[ $bare$transit == yesno ]] || doors+=" transit"
    [[ $bare$tls == yesno ]] || extra+="[kes]"$'\n'"port = $kes"$'\n'
    make_token "$dir" || die "no token"
    if [[ $tls_key != file ]]; then
      make_certificate_of_token "$dir" "$tls_key" || die "no TLS key in a token"
    elif [[ $bare$tls != yesno ]]; then
      make_certificate "$dir"
    fi
    for store in "${stores[@]}"; do
      extra+=$(make_store_token "$dir" "$store")$'\n' || die "no token for $store"
    done
    make_configuration "$dir" "$plain" "$https" "$ops" "$extra" "$doors"
    touch "$dir/rig"
  fi
  make_installation "$dir" || die "hsmkms-admin init failed"
  start "$dir" || return
  [[ $(setting_line "$dir" doors) != *transit* ]] || make_transit_token "$dir" || die "no token"
  print_environment "$dir"
}

(($# >= 2)) || usage
command=$1
[[ $command != up ]] || mkdir -p "$2" || die "cannot make $2"
dir=$(cd "$2" 2>/dev/null && pwd) || die "there is no $2"
[[ $dir != *[[:space:]]* ]] || die "the folder's name must have no blanks"
shift 2
[[ $command == up || -e $dir/rig ]] || die "$dir holds no rig"
case $command in
  up) [[ -x $HSMKMS_BUILD/hsmkmsd ]] || die "$HSMKMS_BUILD/hsmkmsd is not built"; up "$dir" "$@" ;;
  start) start "$dir" && print_environment "$dir" ;;
  stop) daemon_end "$dir" TERM ;;
  kill) daemon_end "$dir" KILL ;;
  env) print_environment "$dir" ;;
  status) if daemon_pid "$dir" >/dev/null; then echo running; else echo stopped; exit 3; fi ;;
  down) daemon_end "$dir" KILL && rm -rf "$dir" ;;
  *) usage ;;
esac
