# shellcheck shell=bash
# Debian 12 packages by purpose, and the function that installs what is missing. Sourced, not run.

readonly PACKAGES_BUILD=(
  cmake ninja-build gcc libc6-dev pkg-config
  libssl-dev libsqlite3-dev libsodium-dev libinih-dev libjansson-dev libp11-kit-dev
  libgnutls28-dev libjemalloc-dev libmicrohttpd-dev libsystemd-dev uthash-dev libcmocka-dev
)
readonly PACKAGES_RUN=(
  softhsm2 openssl libengine-pkcs11-openssl python3 python3-botocore awscli
)
readonly PACKAGES_TEST=(
  clang llvm libclang-rt-14-dev python3-pip python3-cryptography python3-boto3 python3-pytest python3-pytest-xdist opensc faketime strace curl nodejs
  libmongocrypt0 libnss3 libnss3-tools shellcheck
  python3-hvac radosgw ceph-mon ceph-osd ceph-common s3cmd rclone
)

# Names of the given packages that are not installed, one per line.
packages_missing()
{
  local name
  for name in "$@"; do
    [[ $(dpkg-query -W -f='${db:Status-Abbrev}' "$name" 2>/dev/null) == ii* ]] || echo "$name"
  done
}

# Installs what is missing of the given packages; asks nothing, updates the lists at most once.
packages_install()
{
  local missing run=()
  mapfile -t missing < <(packages_missing "$@")
  ((${#missing[@]})) || return 0
  ((EUID == 0)) || run=(sudo)
  echo "installing: ${missing[*]}" >&2
  if [[ -z ${PACKAGES_UPDATED-} ]]; then
    "${run[@]}" apt-get -qq update >&2 || return
    PACKAGES_UPDATED=yes
  fi
  "${run[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -y -o Dpkg::Use-Pty=0 install --no-install-recommends "${missing[@]}" >&2
}
