#!/bin/bash
# The TLS key of a listener in a token of its own: key, certificate request, certificate.
#
#   provisioning/tls_key.sh token   DIR            makes a SoftHSM2 token "tls" (pin files in DIR)
#   provisioning/tls_key.sh key     DIR ec|rsa     makes the key pair "https" in it
#   provisioning/tls_key.sh request DIR            DIR/request.pem, signed in the token
#   provisioning/tls_key.sh sign    DIR CA         DIR/certificate.pem, by CA/ca.pem and CA/ca-key.pem;
#                                                  makes that CA if there is none
#   provisioning/tls_key.sh settings DIR           the lines for the [https] section
#
# With an HSM only request and settings are needed: put its module, token and PIN file into the
# environment, send DIR/request.pem to your CA and put what it answers into DIR/certificate.pem.
# The request is signed through OpenSSL's pkcs11 engine; no PIN is on any command line.
#
# Environment: HSMKMS_TLS_MODULE    PKCS#11 module, default Debian's SoftHSM2
#              HSMKMS_TLS_TOKEN     the token's label, default tls
#              HSMKMS_TLS_OBJECT    the key's label, default https
#              HSMKMS_TLS_PIN_FILE  default DIR/tls-pin
#              HSMKMS_TLS_NAMES     subjectAltName, default DNS:localhost,IP:127.0.0.1,IP:::1
#              SOFTHSM2_CONF        SoftHSM2's configuration
set -eu -o pipefail
umask 077

readonly MODULE=${HSMKMS_TLS_MODULE:-/usr/lib/softhsm/libsofthsm2.so}
readonly TOKEN=${HSMKMS_TLS_TOKEN:-tls}
readonly OBJECT=${HSMKMS_TLS_OBJECT:-https}
readonly NAMES=${HSMKMS_TLS_NAMES:-DNS:localhost,IP:127.0.0.1,IP:::1}
ENGINE=$(openssl version -e | sed 's/.*"\(.*\)".*/\1/')/pkcs11.so
readonly ENGINE
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE

usage()
{
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# 128 random bits in 22 characters: the engine reads 31 of a PIN file and no more.
random_pin()
{
  head -c 16 /dev/urandom | base64 | tr -d '=\n'
}

make_token() # DIR
{
  [[ ! -e $PIN_FILE ]] || { echo "tls_key.sh: $PIN_FILE exists already" >&2; return 1; }
  random_pin >"$1/tls-so-pin"
  random_pin >"$PIN_FILE"
  /usr/bin/python3 "$HERE/init_softhsm.py" "$MODULE" "$TOKEN" "$1/tls-so-pin" "$PIN_FILE"
}

make_key() # DIR KIND
{
  [[ $2 == ec || $2 == rsa ]] || usage
  /usr/bin/python3 "$HERE/make_tls_key.py" "$MODULE" "$TOKEN" "$PIN_FILE" "$OBJECT" "$2"
}

# OpenSSL finds engine and module here and nowhere else.
engine_configuration() # FILE
{
  cat >"$1" <<CONF
openssl_conf = init
[init]
engines = engines
[engines]
pkcs11 = pkcs11
[pkcs11]
engine_id = pkcs11
dynamic_path = $ENGINE
MODULE_PATH = $MODULE
init = 0
[req]
distinguished_name = name
prompt = no
req_extensions = extensions
[name]
CN = $(sed 's/^[^:]*://; s/,.*//' <<<"$NAMES")
[extensions]
subjectAltName = $NAMES
extendedKeyUsage = serverAuth
CONF
}

make_request() # DIR
{
  engine_configuration "$1/openssl.cnf"
  OPENSSL_CONF=$1/openssl.cnf openssl req -new -sha256 -engine pkcs11 -keyform engine \
    -key "pkcs11:token=$TOKEN;object=$OBJECT;type=private;pin-source=file:$PIN_FILE" \
    -out "$1/request.pem" </dev/null 2>"$1/openssl.log" ||
    { cat "$1/openssl.log" >&2; return 1; }
}

make_ca() # CA
{
  mkdir -p "$1"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 \
    -subj "/CN=hsmkms test CA" -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$1/ca-key.pem" -out "$1/ca.pem" 2>/dev/null
}

sign_request() # DIR CA
{
  [[ -s $2/ca.pem ]] || make_ca "$2"
  openssl x509 -req -in "$1/request.pem" -CA "$2/ca.pem" -CAkey "$2/ca-key.pem" -days 825 -sha256 \
    -extfile "$1/openssl.cnf" -extensions extensions -out "$1/certificate.pem" 2>/dev/null
}

print_settings() # DIR
{
  printf '%s = %s\n' \
    certificate "$1/certificate.pem" \
    key "pkcs11:token=$TOKEN;object=$OBJECT" \
    key_module "$MODULE" \
    key_pin_file "$PIN_FILE"
}

(($# >= 2)) || usage
mkdir -p "$2"
dir=$(cd "$2" && pwd)
readonly PIN_FILE=${HSMKMS_TLS_PIN_FILE:-$dir/tls-pin}
case $1 in
  token) make_token "$dir" ;;
  key) make_key "$dir" "${3-}" ;;
  request) make_request "$dir" ;;
  sign) sign_request "$dir" "${3-$dir}" ;;
  settings) print_settings "$dir" ;;
  *) usage ;;
esac
