#!/bin/bash
# A disposable Ceph object gateway on loopback: one monitor, one OSD in memory, one radosgw, an S3
# user. Ready in about a second; several run side by side.
#
#   tests/gateways/rgw.sh up DIR [FILE]      start; prints export lines RGW_*
#   tests/gateways/rgw.sh restart DIR [FILE] the gateway alone, again, with other settings
#   tests/gateways/rgw.sh down DIR           end everything by its process id and remove DIR
#
#   FILE  settings of the gateway beside those below, e.g. where its key service is
#
# Needs radosgw, ceph-mon, ceph-osd and ceph-common; runs as root, without systemd and without a
# manager daemon. Ports: see free_ports in provisioning/lib.sh.
# Source: Ceph documentation, Manual deployment; Ceph Object Gateway configuration reference.
set -u -o pipefail
umask 077
source "$(dirname "${BASH_SOURCE[0]}")/../../provisioning/lib.sh"

readonly DAEMONS=(client.rgw.gate osd.0 mon.gate) # the order in which they end

usage()
{
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# One pool copy, one placement group, quick elections: all there is has to be up at once.
write_configuration() # DIR [FILE]
{
  local dir=$1 s3 mon2 mon1
  read -r s3 mon2 mon1 <"$dir/ports"
  cat >"$dir/ceph.conf" <<CONF
[global]
fsid = $(<"$dir/fsid")
mon initial members = gate
mon host = [v2:127.0.0.1:$mon2/0,v1:127.0.0.1:$mon1/0]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = $dir/keyring
run dir = $dir
admin socket = $dir/\$name.asok
pid file = $dir/\$name.pid
log file = $dir/\$name.log
log to stderr = false
err to stderr = false
mon cluster log file = $dir/cluster.log
crash dir = $dir/crash
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 2000
mon data avail warn = 1
mon data avail crit = 1
[mon]
mon data = $dir/mon
paxos propose interval = 0.02
paxos min wait = 0.01
mon tick interval = 1
auth allow insecure global id reclaim = false
[osd]
osd data = $dir/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd memory target = 939524096
osd class load list = *
osd class default list = *
osd crush update on start = true
osd crush location = root=default host=gate
[client.rgw.gate]
rgw frontends = beast endpoint=127.0.0.1:$s3 tcp_nodelay=1
rgw data = $dir/rgw
rgw thread pool size = 32
rgw enable usage log = false
rgw lc max worker = 1
rgw crypt require ssl = false
$([[ -z ${2-} ]] || cat "$2")
CONF
}

# Every key is in the monitor's first keyring, so that none has to be registered afterwards.
make_keyring() # DIR
{
  local -r all='allow *' ring=$1/keyring
  ceph-authtool -C "$ring" --gen-key -n mon. --cap mon "$all" &&
    ceph-authtool "$ring" --gen-key -n client.admin --cap mon "$all" --cap osd "$all" &&
    ceph-authtool "$ring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd "$all" &&
    ceph-authtool "$ring" --gen-key -n client.rgw.gate --cap mon 'allow rw' --cap osd 'allow rwx'
}

start_cluster() # DIR
{
  local dir=$1 mon2 mon1 osd
  local -r conf=$dir/ceph.conf
  read -r _ mon2 mon1 <"$dir/ports"
  osd=$(</proc/sys/kernel/random/uuid)
  make_keyring "$dir" >/dev/null &&
    monmaptool --create --fsid "$(<"$dir/fsid")" --addv gate \
      "[v2:127.0.0.1:$mon2,v1:127.0.0.1:$mon1]" "$dir/monmap" >/dev/null &&
    ceph-mon -c "$conf" -i gate --mkfs --monmap "$dir/monmap" --keyring "$dir/keyring" &&
    ceph-mon -c "$conf" -i gate &&
    ceph -c "$conf" --connect-timeout 30 osd new "$osd" 0 >/dev/null &&
    ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$osd" >/dev/null 2>&1 &&
    ceph-osd -c "$conf" -i 0
}

start_gateway() # DIR
{
  local i s3
  read -r s3 _ <"$1/ports"
  radosgw -c "$1/ceph.conf" -n client.rgw.gate || return
  for ((i = 0; i < 1200; i++)); do
    if (: <>"/dev/tcp/127.0.0.1/$s3") 2>/dev/null; then return 0; fi
    sleep 0.05
  done
  echo "rgw.sh: no gateway on port $s3, see $1/client.rgw.gate.log" >&2
  return 1
}

make_user() # DIR
{
  [[ ! -s $1/user ]] || return 0
  printf '%s %s\n' "$(random_pin | tr '[:lower:]' '[:upper:]' | cut -c 1-20)" "$(random_pin)" >"$1/user.new"
  local access secret
  read -r access secret <"$1/user.new"
  radosgw-admin -c "$1/ceph.conf" -n client.rgw.gate user create --uid=gate --display-name=gate \
    --access-key="$access" --secret-key="$secret" >/dev/null && mv "$1/user.new" "$1/user"
}

print_gateway() # DIR
{
  local s3 access secret
  read -r s3 _ <"$1/ports"
  read -r access secret <"$1/user"
  printf 'export %s=%q\n' RGW_URL "http://127.0.0.1:$s3" RGW_ACCESS_KEY "$access" \
    RGW_SECRET_KEY "$secret" RGW_CONF "$1/ceph.conf"
}

# A process that only waits to be reaped has ended.
is_alive() # PID
{
  [[ -r /proc/$1/stat ]] && ! grep -q ') Z ' "/proc/$1/stat" 2>/dev/null
}

# Ends one daemon, if what its file names is still one of ours.
end_daemon() # DIR NAME SIGNAL
{
  local pid i
  [[ -s $1/$2.pid ]] || return 0
  pid=$(<"$1/$2.pid")
  rm -f "$1/$2.pid"
  tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$1/ceph.conf" || return 0
  kill "-$3" "$pid"
  for ((i = 0; i < 400; i++)); do
    is_alive "$pid" || return 0
    sleep 0.05
  done
  kill -KILL "$pid"
}

up() # DIR [FILE]
{
  [[ ! -e $1/fsid ]] || die "$1 is in use"
  mkdir -p "$1"/{mon,osd,rgw,crash}
  cat /proc/sys/kernel/random/uuid >"$1/fsid"
  free_ports 3 >"$1/ports"
  write_configuration "$@"
  start_cluster "$1" && start_gateway "$1" && make_user "$1" && print_gateway "$1"
}

(($# >= 2)) || usage
command=$1
[[ $command != up ]] || mkdir -p "$2"
dir=$(cd "$2" 2>/dev/null && pwd) || die "there is no $2"
shift 2
case $command in
  up) up "$dir" "$@" ;;
  restart)
    end_daemon "$dir" client.rgw.gate TERM
    write_configuration "$dir" "$@"
    start_gateway "$dir" && print_gateway "$dir"
    ;;
  down)
    for name in "${DAEMONS[@]}"; do end_daemon "$dir" "$name" KILL; done
    rm -rf "$dir"
    ;;
  *) usage ;;
esac
