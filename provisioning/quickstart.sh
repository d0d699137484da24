#!/bin/bash
# From a fresh checkout to a running key service on Debian 12, with its main job shown.
#
#   provisioning/quickstart.sh
#
# Installs missing packages, builds the release, makes a SoftHSM2 token with random PINs, a
# configuration, a TLS certificate for localhost and a first access key, all below var/ (mode 0700);
# starts the daemon and leaves it running. What exists is kept, so running it again is safe.
set -euo pipefail
umask 077
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

readonly DIR=$HSMKMS_ROOT/var

say()
{
  printf '\n== %s\n' "$*"
}

build()
{
  [[ $HSMKMS_BUILD == "$HSMKMS_ROOT/build/release" ]] || return 0 # built by whoever chose it
  (
    cd "$HSMKMS_ROOT"
    cmake --preset release >/dev/null
    cmake --build --preset release --target hsmkmsd hsmkms-admin hsmkms-audit
  )
}

make_service()
{
  local plain tls ops
  mkdir -p "$DIR"
  [[ -s $DIR/pin ]] || make_token "$DIR"
  [[ -s $DIR/tls/certificate.pem ]] || make_certificate "$DIR"
  if [[ ! -s $DIR/hsmkms.conf ]]; then
    read -r plain tls ops < <(free_ports 3)
    make_configuration "$DIR" "$plain" "$tls" "$ops" ""
  fi
  make_installation "$DIR"
}

# Runs the AWS command line, shown as it could be typed.
kms()
{
  printf '$ aws kms' >&2
  printf ' %s' "${@//$DIR\//var/}" >&2
  printf '\n' >&2
  /usr/bin/aws --endpoint-url "$AWS_ENDPOINT_URL_KMS" --output json kms "$@"
}

# The member of a JSON object on standard input, which is shown without private values.
member() # NAME
{
  /usr/bin/python3 -c '
import json, sys
answer = json.load(sys.stdin)
shown = answer.get("KeyMetadata", answer)
for name, value in shown.items():
    if name in ("Arn", "KeyId", "KeyState", "KeyMaterialId", "Truncated"):
        print(f"    {name}: {value}", file=sys.stderr)
print(shown[sys.argv[1]])' "$1"
}

# Each answer is shown; files with key bytes exist below var/demo only until the end.
show_main_job()
{
  local key alias blob
  mkdir -p "$DIR/demo"
  trap 'rm -rf "$DIR/demo"' RETURN
  key=$(kms create-key --description quickstart | member KeyId)
  alias=alias/quickstart-${key%%-*}
  kms create-alias --alias-name "$alias" --target-key-id "$key"

  kms generate-data-key --key-id "$alias" --key-spec AES_256 --encryption-context purpose=demo \
    >"$DIR/demo/answer"
  member CiphertextBlob <"$DIR/demo/answer" | base64 -d >"$DIR/demo/blob"
  member Plaintext <"$DIR/demo/answer" >"$DIR/demo/before" 2>/dev/null
  blob=fileb://$DIR/demo/blob

  kms decrypt --ciphertext-blob "$blob" --encryption-context purpose=demo |
    member Plaintext >"$DIR/demo/after"
  cmp "$DIR/demo/before" "$DIR/demo/after"
  echo "    the same data key came back"

  rotate "$key"
  kms decrypt --ciphertext-blob "$blob" --encryption-context purpose=demo |
    member Plaintext >"$DIR/demo/after"
  cmp "$DIR/demo/before" "$DIR/demo/after"
  echo "    a blob from before the rotation still opens"

  ! kms decrypt --ciphertext-blob "$blob" --encryption-context purpose=other 2>"$DIR/demo/refusal"
  sed '/^$/d; s/^/    /' "$DIR/demo/refusal" | tail -n 1
}

# awscli 2.9 does not know RotateKeyOnDemand yet; botocore signs the request all the same.
rotate() # KEY
{
  printf '$ RotateKeyOnDemand %s\n' "$1"
  RIG_KEY=$1 /usr/bin/python3 - <<'PYTHON'
import json
import os
import ssl
import urllib.request

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

body = json.dumps({"KeyId": os.environ["RIG_KEY"]})
request = AWSRequest("POST", os.environ["AWS_ENDPOINT_URL_KMS"] + "/", data=body, headers={
    "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService.RotateKeyOnDemand"})
SigV4Auth(Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]), "kms",
          os.environ["AWS_DEFAULT_REGION"]).add_auth(request)
answer = urllib.request.urlopen(urllib.request.Request(
    request.url, body.encode(), dict(request.headers)), timeout=30,
    context=ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"]))
print("   ", answer.status, answer.read().decode())
PYTHON
}

# The newest records in short: the files hold much more of each.
show_audit()
{
  "$HSMKMS_BUILD/hsmkms-audit" tail "$HSMKMS_AUDIT_DIR" | tail -n 6 | /usr/bin/python3 -c '
import json, sys
for line in sys.stdin:
    record = json.loads(line)
    print("   ", record["seq"], record["eventTime"], record["eventName"], record["userIdentity"].get("arn"),
          record.get("errorCode", "ok"), (record.get("requestParameters") or {}).get("encryptionContext", ""))'
}

say "packages"
packages_install "${PACKAGES_BUILD[@]}" "${PACKAGES_RUN[@]}"
say "build"
build
say "token, configuration, credential below ${DIR#"$PWD/"}"
make_service
say "start"
daemon_start "$DIR" || die "the daemon did not start, see $DIR/daemon.log"
print_environment "$DIR" >"$DIR/env.sh"
source "$DIR/env.sh"
echo "hsmkmsd runs as process $HSMKMS_PID on $AWS_ENDPOINT_URL_KMS"
say "the main job"
show_main_job
say "what the audit trail says"
show_audit
"$HSMKMS_BUILD/hsmkms-audit" verify "$HSMKMS_AUDIT_DIR"
say "it is yours"
cat <<TEXT
Use it:     source ${DIR#"$PWD/"}/env.sh
            aws --endpoint-url "\$AWS_ENDPOINT_URL_KMS" kms list-keys
            (AWS SDKs and awscli from 2.13 on read AWS_ENDPOINT_URL_KMS by themselves)
Administer: \$HSMKMS_ADMIN status
Stop it:    kill \$(cat ${DIR#"$PWD/"}/daemon.pid)
Start it:   provisioning/quickstart.sh, again
TEXT
