"""Custom key stores: keys in further tokens, as an ordinary AWS client works with them."""

import contextlib
import re
import shutil
import subprocess
import threading
import time

import botocore.exceptions
import pytest

import kms

FIRST, SECOND = "cluster-rigstoretwo", "cluster-rigstorethree"
PASSWORD = "wonderland7"
PLAIN = b"kept in another token"

pytestmark = pytest.mark.any_listener


@pytest.fixture(scope="module")
def anchor(tmp_path_factory):
    """A certificate as clients give it."""
    path = tmp_path_factory.mktemp("anchor") / "ca.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-days", "30", "-subj", "/CN=cluster", "-keyout", "/dev/null",
                    "-out", path], check=True, stderr=subprocess.DEVNULL, timeout=60)
    return path.read_text()


@pytest.fixture()
def service(new_rig):
    """A service of a test's own with two further tokens."""
    return new_rig(stores=(FIRST, SECOND))


@pytest.fixture()
def make(anchor):
    """Makes a store of a service: its id."""
    def create(service, cluster=FIRST, name="store", connect=True):
        store = service.boto().create_custom_key_store(
            CustomKeyStoreName=name, CloudHsmClusterId=cluster, KeyStorePassword=PASSWORD,
            TrustAnchorCertificate=anchor)["CustomKeyStoreId"]
        if connect:
            service.boto().connect_custom_key_store(CustomKeyStoreId=store)
            assert state(service, store) == "CONNECTED"
        return store
    return create


def entry(service, store):
    """What a client sees of a store."""
    answer = service.boto().describe_custom_key_stores(CustomKeyStoreId=store)
    assert not answer["Truncated"]
    return answer["CustomKeyStores"][0]


def state(service, store):
    return entry(service, store)["ConnectionState"]


def key_in(service, store, **more):
    """A new key in a store."""
    return kms.Key(service.boto().create_key(Origin="AWS_CLOUDHSM", CustomKeyStoreId=store,
                                             **more)["KeyMetadata"])


def key_state(service, key):
    return service.boto().describe_key(KeyId=key)["KeyMetadata"]["KeyState"]


def encrypt(service, key, **more):
    return service.boto().encrypt(KeyId=key, Plaintext=PLAIN, **more)["CiphertextBlob"]


def opens(service, blob, **more):
    return service.boto().decrypt(CiphertextBlob=blob, **more)["Plaintext"] == PLAIN


@contextlib.contextmanager
def refused(code):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        yield caught
    assert caught.value.response["Error"]["Code"] == code, caught.value


def token_dir(service, cluster):
    """The files of a token: SoftHSM2 writes the label into token.object."""
    found = [path.parent for path in (service.dir / "token").glob("*/token.object")
             if cluster.encode() in path.read_bytes()]
    assert len(found) == 1
    return found[0]


def own_module(service, cluster, module=None):
    """Gives a token a module of its own, which is started and ended with it."""
    copy = service.dir / "softhsm-copy.so"
    shutil.copyfile("/usr/lib/softhsm/libsofthsm2.so", copy)
    path = service.dir / "hsmkms.conf"
    path.write_text(re.sub(rf"(\[token\.{cluster}\]\nmodule = ).*", rf"\g<1>{module or copy}",
                           path.read_text()))
    service.restart()


# life


def test_the_whole_life_of_a_store(service, make, anchor):
    boto = service.boto()
    assert boto.describe_custom_key_stores()["CustomKeyStores"] == []
    store = make(service, name="payments", connect=False)
    assert re.fullmatch(r"cks-[0-9a-f]{17}", store)
    shown = entry(service, store)
    assert shown.pop("CreationDate")
    assert shown == {"CustomKeyStoreId": store, "CustomKeyStoreName": "payments",
                     "CloudHsmClusterId": FIRST, "TrustAnchorCertificate": anchor,
                     "ConnectionState": "DISCONNECTED", "CustomKeyStoreType": "AWS_CLOUDHSM"}
    by_name = boto.describe_custom_key_stores(CustomKeyStoreName="payments")["CustomKeyStores"]
    assert [s["CustomKeyStoreId"] for s in by_name] == [store]

    boto.connect_custom_key_store(CustomKeyStoreId=store)
    assert state(service, store) == "CONNECTED"
    boto.connect_custom_key_store(CustomKeyStoreId=store)  # again is fine
    key = key_in(service, store, Description="elsewhere", Tags=[{"TagKey": "a", "TagValue": "b"}])
    metadata = boto.describe_key(KeyId=key)["KeyMetadata"]
    assert metadata["Origin"] == "AWS_CLOUDHSM" and metadata["KeyState"] == "Enabled"
    assert metadata["CustomKeyStoreId"] == store and metadata["CloudHsmClusterId"] == FIRST
    use_everything(service, key, store)
    with refused("CustomKeyStoreInvalidStateException"):
        boto.delete_custom_key_store(CustomKeyStoreId=store)
    boto.disconnect_custom_key_store(CustomKeyStoreId=store)
    with refused("CustomKeyStoreHasCMKsException"):
        boto.delete_custom_key_store(CustomKeyStoreId=store)

    empty = make(service, SECOND, name="empty")
    boto.disconnect_custom_key_store(CustomKeyStoreId=empty)
    boto.delete_custom_key_store(CustomKeyStoreId=empty)
    with refused("CustomKeyStoreNotFoundException"):
        boto.describe_custom_key_stores(CustomKeyStoreId=empty)
    again = make(service, SECOND, name="empty")  # name and cluster are free again
    assert again != empty
    service.audit_verify()


def use_everything(service, key, store):
    """What a symmetric key is for, in a token that is not the service's own."""
    boto, context = service.boto(), {"a": "b"}
    own = boto.create_key()["KeyMetadata"]["KeyId"]
    assert "CustomKeyStoreId" not in boto.describe_key(KeyId=own)["KeyMetadata"]
    before = encrypt(service, key, EncryptionContext=context)
    data_key = boto.generate_data_key(KeyId=key, KeySpec="AES_256")
    assert boto.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
    boto.generate_data_key_pair(KeyId=key, KeyPairSpec="ECC_NIST_P256")
    service.ok("RotateKeyOnDemand", KeyId=key)
    boto.enable_key_rotation(KeyId=key)
    assert len(service.ok("ListKeyRotations", KeyId=key)["Rotations"]) == 1
    assert opens(service, before, EncryptionContext=context)
    moved = boto.re_encrypt(CiphertextBlob=before, SourceEncryptionContext=context,
                            DestinationKeyId=own)["CiphertextBlob"]
    back = boto.re_encrypt(CiphertextBlob=moved, DestinationKeyId=key)["CiphertextBlob"]
    assert opens(service, moved, KeyId=own) and opens(service, back, KeyId=key)
    assert len(boto.generate_random(NumberOfBytes=32, CustomKeyStoreId=store)["Plaintext"]) == 32
    boto.disable_key(KeyId=key)
    with refused("DisabledException"):
        encrypt(service, key)
    boto.enable_key(KeyId=key)
    assert opens(service, encrypt(service, key))


def test_keys_lie_in_the_token_of_their_store(service, make):
    store, other = make(service), make(service, SECOND, name="other")
    before = {cluster: objects(service, cluster) for cluster in (FIRST, SECOND, "hsmkms\x20")}
    key = key_in(service, store)
    service.ok("RotateKeyOnDemand", KeyId=key)
    key_in(service, other)
    service.key()
    grown = {cluster: objects(service, cluster) - count for cluster, count in before.items()}
    assert grown == {FIRST: 2, SECOND: 1, "hsmkms\x20": 1}


def objects(service, label):
    return len([p for p in token_dir(service, label).glob("*.object") if p.name != "token.object"])


def test_other_kinds_of_keys(service, make):
    boto, store = service.boto(), make(service)
    signing = key_in(service, store, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    mac = key_in(service, store, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    signature = boto.sign(KeyId=signing, Message=PLAIN, SigningAlgorithm="ECDSA_SHA_256")["Signature"]
    assert boto.verify(KeyId=signing, Message=PLAIN, SigningAlgorithm="ECDSA_SHA_256",
                       Signature=signature)["SignatureValid"]
    tag = boto.generate_mac(KeyId=mac, Message=PLAIN, MacAlgorithm="HMAC_SHA_256")["Mac"]
    boto.disconnect_custom_key_store(CustomKeyStoreId=store)
    for call in (lambda: boto.sign(KeyId=signing, Message=PLAIN, SigningAlgorithm="ECDSA_SHA_256"),
                 lambda: boto.verify_mac(KeyId=mac, Message=PLAIN, MacAlgorithm="HMAC_SHA_256", Mac=tag)):
        with refused("KMSInvalidStateException"):
            call()
    boto.connect_custom_key_store(CustomKeyStoreId=store)
    assert boto.verify_mac(KeyId=mac, Message=PLAIN, MacAlgorithm="HMAC_SHA_256", Mac=tag)["MacValid"]
    boto.sign(KeyId=signing, Message=PLAIN, SigningAlgorithm="ECDSA_SHA_256")


# connected or not


def test_a_disconnected_store_takes_its_own_keys_away_and_no_others(service, make):
    boto, store, other = service.boto(), make(service), make(service, SECOND, name="other")
    key, neighbour, own = key_in(service, store), key_in(service, other), service.key()
    blobs = {k: encrypt(service, k) for k in (key, neighbour, own)}
    boto.disconnect_custom_key_store(CustomKeyStoreId=store)

    assert state(service, store) == "DISCONNECTED"
    assert key_state(service, key) == "Unavailable"
    calls = [lambda: encrypt(service, key), lambda: opens(service, blobs[key]),
             lambda: boto.generate_data_key(KeyId=key, KeySpec="AES_256"),
             lambda: boto.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=16),
             lambda: boto.re_encrypt(CiphertextBlob=blobs[key], DestinationKeyId=own),
             lambda: boto.re_encrypt(CiphertextBlob=blobs[own], DestinationKeyId=key)]
    for call in calls:
        with refused("KMSInvalidStateException"):
            call()
    service.refuses("KMSInvalidStateException", "RotateKeyOnDemand", {"KeyId": key})
    for call in (lambda: key_in(service, store),
                 lambda: boto.generate_random(NumberOfBytes=8, CustomKeyStoreId=store)):
        with refused("CustomKeyStoreInvalidStateException"):
            call()
    boto.tag_resource(KeyId=key, Tags=[{"TagKey": "still", "TagValue": "there"}])
    boto.update_key_description(KeyId=key, Description="away")
    boto.create_alias(AliasName="alias/away", TargetKeyId=key)
    assert opens(service, blobs[neighbour]) and opens(service, blobs[own])

    boto.connect_custom_key_store(CustomKeyStoreId=store)
    assert key_state(service, key) == "Enabled"
    assert all(opens(service, blob) for blob in blobs.values())
    assert opens(service, encrypt(service, "alias/away"))


def test_states_that_clients_set_survive_a_disconnection(service, make):
    boto, store = service.boto(), make(service)
    disabled, doomed, plain = (key_in(service, store) for _ in range(3))
    boto.disable_key(KeyId=disabled)
    boto.schedule_key_deletion(KeyId=doomed, PendingWindowInDays=7)
    boto.disconnect_custom_key_store(CustomKeyStoreId=store)
    assert key_state(service, disabled) == "Unavailable"
    assert key_state(service, doomed) == "PendingDeletion"
    boto.schedule_key_deletion(KeyId=plain, PendingWindowInDays=7)
    boto.cancel_key_deletion(KeyId=doomed)
    boto.connect_custom_key_store(CustomKeyStoreId=store)
    assert [key_state(service, k) for k in (disabled, doomed, plain)] == [
        "Disabled", "Disabled", "PendingDeletion"]
    boto.enable_key(KeyId=disabled)
    assert opens(service, encrypt(service, disabled))


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_stores_survive_the_end_of_the_process(service, make, end):
    boto, store, away = service.boto(), make(service), make(service, SECOND, name="away")
    key, gone = key_in(service, store), key_in(service, away)
    blob, lost = encrypt(service, key), encrypt(service, gone)
    boto.disconnect_custom_key_store(CustomKeyStoreId=away)
    for _ in range(2):
        getattr(service, end)()
        service.start()
        assert state(service, store) == "CONNECTED" and state(service, away) == "DISCONNECTED"
        assert opens(service, blob)
        assert key_state(service, gone) == "Unavailable"
        with refused("KMSInvalidStateException"):
            opens(service, lost)
    service.boto().connect_custom_key_store(CustomKeyStoreId=away)
    assert opens(service, lost)


@pytest.mark.slow
def test_killed_while_a_store_is_connected_again_and_again(service, make):
    store = make(service)
    key, own = key_in(service, store), service.key()
    blobs = [encrypt(service, key), encrypt(service, own)]
    for round_ in range(6):
        stop = threading.Event()
        worker = threading.Thread(target=switch, args=(service, store, stop))
        worker.start()
        time.sleep(0.2 + 0.15 * round_)
        service.kill()
        stop.set()
        worker.join(60)
        service.start()
        with contextlib.suppress(botocore.exceptions.ClientError):
            service.boto().connect_custom_key_store(CustomKeyStoreId=store)
        assert state(service, store) == "CONNECTED"
        assert all(opens(service, blob) for blob in blobs)
        assert opens(service, encrypt(service, key))
    service.audit_verify()


def switch(service, store, stop):
    """Connects, uses and disconnects until the service is gone."""
    while not stop.is_set():
        try:
            service.call("DisconnectCustomKeyStore", {"CustomKeyStoreId": store})
            service.call("ConnectCustomKeyStore", {"CustomKeyStoreId": store})
            service.call("CreateKey", {"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": store})
        except (OSError, kms.http.client.HTTPException):
            return


def test_use_goes_on_beside_connecting(service, make):
    """What is in flight ends well or is refused; nothing else happens to it, or to other keys."""
    store, other = make(service), make(service, SECOND, name="other")
    keys = [key_in(service, store), key_in(service, other), service.key()]
    answers, stop = {key: set() for key in keys}, threading.Event()

    def use(key):
        while not stop.is_set():
            answer = service.call("GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256"})
            answers[key].add(answer.type if answer.status != 200 else "ok")

    threads = [threading.Thread(target=use, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for _ in range(5):
        service.ok("DisconnectCustomKeyStore", CustomKeyStoreId=store)
        service.ok("ConnectCustomKeyStore", CustomKeyStoreId=store)
        assert state(service, store) == "CONNECTED"
    stop.set()
    for thread in threads:
        thread.join(60)
    assert answers[keys[0]] <= {"ok", "KMSInvalidStateException"}
    assert answers[keys[1]] == {"ok"} and answers[keys[2]] == {"ok"}
    assert key_state(service, keys[0]) == "Enabled"
    assert opens(service, encrypt(service, keys[0]))


# tokens that fail


@pytest.mark.parametrize("module", ["shared", "own"])
def test_a_token_that_is_away_at_start(service, make, module):
    store = make(service)
    key, own = key_in(service, store), service.key()
    blobs = [encrypt(service, key), encrypt(service, own)]
    if module == "own":
        own_module(service, FIRST)
    directory = token_dir(service, FIRST)
    service.stop()
    hidden = directory.rename(service.dir / "hidden")
    service.start()
    shown = entry(service, store)
    assert shown["ConnectionState"] == "FAILED" and shown["ConnectionErrorCode"] == "CLUSTER_NOT_FOUND"
    assert key_state(service, key) == "Unavailable"
    assert opens(service, blobs[1])
    with refused("KMSInvalidStateException"):
        opens(service, blobs[0])
    with refused("CustomKeyStoreInvalidStateException"):
        service.boto().connect_custom_key_store(CustomKeyStoreId=store)

    hidden.rename(directory)
    if module == "own":  # it is started anew with its first token
        service.boto().disconnect_custom_key_store(CustomKeyStoreId=store)
        service.boto().connect_custom_key_store(CustomKeyStoreId=store)
    else:
        service.restart()
    assert state(service, store) == "CONNECTED"
    assert all(opens(service, blob) for blob in blobs)


def test_a_token_that_goes_away_and_comes_back(service, make):
    own_module(service, FIRST)
    store = make(service)
    key, own = key_in(service, store), service.key()
    blobs = [encrypt(service, key), encrypt(service, own)]
    directory = token_dir(service, FIRST)
    hidden = directory.rename(service.dir / "hidden")
    for _ in range(3):
        service.refuses("KeyUnavailableException", "Decrypt", {"CiphertextBlob": kms.b64(blobs[0])})
        assert opens(service, blobs[1]) and opens(service, encrypt(service, own))
    assert health(service) == (200, {FIRST: "unavailable"})
    hidden.rename(directory)
    for _ in range(300):  # the breaker probes ever more rarely, every 30 s at last
        if service.call("Decrypt", {"CiphertextBlob": kms.b64(blobs[0])}).status == 200:
            break
        time.sleep(0.2)
    assert all(opens(service, blob) for blob in blobs)
    assert opens(service, encrypt(service, key_in(service, store)))
    assert state(service, store) == "CONNECTED"


def test_a_token_that_hangs_leaves_a_worker_to_the_others(new_rig, make, tmp_path):
    """Calls that hang cannot be ended, and each has a worker: not the last one."""
    service, rules = faulty(new_rig, tmp_path)
    store = make(service)
    key, own = key_in(service, store), service.key()
    replace(rules, "C_EncryptInit delay=12000\n")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(
        service.call("Encrypt", {"KeyId": key, "Plaintext": "eA=="}).type)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        assert opens(service, encrypt(service, own))
    assert sum(thread.is_alive() for thread in threads) >= 3, "nothing hung, nothing was tested"
    service.ok("DisconnectCustomKeyStore", CustomKeyStoreId=store)  # which does not wait for them
    assert opens(service, encrypt(service, own))
    replace(rules, "")
    for thread in threads:
        thread.join(60)
    assert set(answers) <= {"", "KeyUnavailableException", "KMSInvalidStateException"}
    assert answers.count("") == 3  # of four workers
    service.ok("ConnectCustomKeyStore", CustomKeyStoreId=store)
    assert opens(service, encrypt(service, key))


@pytest.mark.slow
def test_a_token_whose_login_hangs_does_not_hold_up_the_start(new_rig, make, tmp_path):
    service, rules = faulty(new_rig, tmp_path)
    store = make(service)
    blobs = [encrypt(service, key_in(service, store)), encrypt(service, service.key())]
    service.stop()
    replace(rules, "C_Login delay=20000\n")
    service.start()
    assert state(service, store) == "CONNECTING"
    assert opens(service, blobs[1])
    for operation in ("Connect", "Disconnect", "Delete"):
        service.refuses("CustomKeyStoreInvalidStateException", operation + "CustomKeyStore",
                        {"CustomKeyStoreId": store})
    service.refuses("KMSInvalidStateException", "Decrypt", {"CiphertextBlob": kms.b64(blobs[0])})
    for _ in range(300):
        if state(service, store) != "CONNECTING":
            break
        time.sleep(0.2)
    assert state(service, store) == "CONNECTED"
    assert all(opens(service, blob) for blob in blobs)


def faulty(new_rig, tmp_path):
    """A service whose further token goes wrong on request, and the file that says how."""
    module = next(iter(kms.BUILD.rglob("p11faults.so")), None)
    if module is None:
        pytest.skip("p11faults.so is not part of this build")
    rules = tmp_path / "rules"
    rules.write_text("")
    shutil.copyfile("/usr/lib/softhsm/libsofthsm2.so", tmp_path / "softhsm.so")
    service = new_rig(stores=(FIRST,), env={
        "P11_FAULTS_FILE": str(rules), "P11_FAULTS_COUNTS": str(tmp_path / "counts"),
        "P11_FAULTS_MODULE": str(tmp_path / "softhsm.so")})
    own_module(service, FIRST, module)
    return service, rules


def replace(path, text):
    """A new file each time: two writes within one clock tick would look the same."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def test_a_token_that_lost_a_key(service, make):
    """The key is Unavailable and the others of the store go on; with the object it is back."""
    store = make(service)
    first = {p.name for p in token_dir(service, FIRST).glob("*.object")}
    lost = key_in(service, store)
    objects_of_lost = [p for p in token_dir(service, FIRST).glob("*.object") if p.name not in first]
    kept = key_in(service, store)
    blobs = [encrypt(service, lost), encrypt(service, kept)]
    service.stop()
    hidden = [(path, path.rename(service.dir / path.name)) for path in objects_of_lost]
    service.start()
    assert state(service, store) == "CONNECTED"
    assert key_state(service, lost) == "Unavailable" and key_state(service, kept) == "Enabled"
    assert opens(service, blobs[1])
    with refused("KMSInvalidStateException"):
        opens(service, blobs[0])
    service.stop()
    for path, elsewhere in hidden:
        elsewhere.rename(path)
    service.start()
    assert all(opens(service, blob) for blob in blobs)


def test_a_section_that_is_taken_out_of_the_configuration(service, make):
    store = make(service)
    key, own = key_in(service, store), service.key()
    blob = encrypt(service, key)
    path = service.dir / "hsmkms.conf"
    whole = path.read_text()
    path.write_text(re.sub(rf"\[token\.{FIRST}\]\n([a-z_]+ = .*\n)+", "", whole))
    service.restart()
    assert entry(service, store)["ConnectionErrorCode"] == "CLUSTER_NOT_FOUND"
    assert key_state(service, key) == "Unavailable"
    assert opens(service, encrypt(service, own))
    path.write_text(whole)
    service.restart()
    assert opens(service, blob)


def test_a_wrong_pin_is_tried_once(service, make):
    store = make(service, connect=False)
    pin = service.dir / f"{FIRST}.pin"
    right = pin.read_text()
    pin.write_text("not the PIN")
    boto = service.boto()
    for _ in range(2):
        boto.connect_custom_key_store(CustomKeyStoreId=store)
        shown = entry(service, store)
        assert shown["ConnectionState"] == "FAILED"
        assert shown["ConnectionErrorCode"] == "INVALID_CREDENTIALS"
        boto.disconnect_custom_key_store(CustomKeyStoreId=store)
    assert service.log().count("C_Login") == 1
    assert "tried before" in service.log()
    pin.write_text(right)
    boto.connect_custom_key_store(CustomKeyStoreId=store)
    assert state(service, store) == "CONNECTED"
    assert opens(service, encrypt(service, key_in(service, store)))


def test_the_own_token_is_no_store(new_rig, make):
    """A section that names a token which is in use already: two names would mix their keys up."""
    service = new_rig(stores=(FIRST,))
    path = service.dir / "hsmkms.conf"
    path.write_text(path.read_text().replace(f"uri = pkcs11:token={FIRST}", "uri = pkcs11:token=hsmkms")
                    .replace(str(service.dir / f"{FIRST}.pin"), str(service.dir / "pin")))
    service.restart()
    store = make(service, connect=False)
    service.boto().connect_custom_key_store(CustomKeyStoreId=store)
    assert entry(service, store)["ConnectionErrorCode"] == "INTERNAL_ERROR"
    assert opens(service, encrypt(service, service.key()))


# bad input


def create(anchor, **changes):
    parameters = {"CustomKeyStoreName": "new", "CloudHsmClusterId": SECOND, "KeyStorePassword": PASSWORD,
                  "TrustAnchorCertificate": anchor, **changes}
    return {name: value for name, value in parameters.items() if value is not None}


def test_what_create_refuses(service, make, anchor):
    make(service, name="taken", connect=False)
    rows = [("CustomKeyStoreNameInUseException", {"CustomKeyStoreName": "taken"}),
            ("CloudHsmClusterInUseException", {"CloudHsmClusterId": FIRST}),
            ("CloudHsmClusterNotFoundException", {"CloudHsmClusterId": "cluster-abcdefghijk"}),
            ("IncorrectTrustAnchorException", {"TrustAnchorCertificate": "x"}),
            ("IncorrectTrustAnchorException", {"TrustAnchorCertificate": anchor[:-30]}),
            ("IncorrectTrustAnchorException", {"TrustAnchorCertificate": anchor + "x"}),
            ("UnsupportedOperationException", {"CustomKeyStoreType": "EXTERNAL_KEY_STORE"}),
            ("UnsupportedOperationException", {"XksProxyUriPath": "/kms/xks/v1"}),
            ("UnsupportedOperationException", {"XksProxyAuthenticationCredential": {
                "AccessKeyId": "A" * 20, "RawSecretAccessKey": "b" * 43}}),
            ("ValidationException", {"CustomKeyStoreType": "OTHER"}),
            ("ValidationException", {"CustomKeyStoreName": None}),
            ("ValidationException", {"CustomKeyStoreName": ""}),
            ("ValidationException", {"CustomKeyStoreName": "n" * 257}),
            ("ValidationException", {"CloudHsmClusterId": None}),
            ("ValidationException", {"CloudHsmClusterId": "cluster-1bcdefghijk"}),
            ("ValidationException", {"CloudHsmClusterId": "cluster-abcdefghij"}),
            ("ValidationException", {"CloudHsmClusterId": "kluster-abcdefghijk"}),
            ("ValidationException", {"KeyStorePassword": None}),
            ("ValidationException", {"TrustAnchorCertificate": None}),
            ("ValidationException", {"TrustAnchorCertificate": "x" * 5001}),
            ("SerializationException", {"CustomKeyStoreName": 7})]
    before = service.ok("DescribeCustomKeyStores")
    for expected, changes in rows:
        service.refuses(expected, "CreateCustomKeyStore", create(anchor, **changes))
    assert service.ok("DescribeCustomKeyStores") == before


def test_what_the_others_refuse(service, make):
    store = make(service)
    both = {"CustomKeyStoreId": store, "CustomKeyStoreName": "store"}
    nobody = {"CustomKeyStoreId": "cks-00000000000000000"}
    rows = [("ValidationException", "DescribeCustomKeyStores", both),
            ("CustomKeyStoreNotFoundException", "DescribeCustomKeyStores", {"CustomKeyStoreName": "STORE"}),
            ("CustomKeyStoreNotFoundException", "CreateKey", {**nobody, "Origin": "AWS_CLOUDHSM"}),
            ("CustomKeyStoreNotFoundException", "GenerateRandom", {**nobody, "NumberOfBytes": 8}),
            ("ValidationException", "CreateKey", {"CustomKeyStoreId": store}),
            ("ValidationException", "CreateKey", {"CustomKeyStoreId": store, "Origin": "EXTERNAL"}),
            ("ValidationException", "CreateKey", {"Origin": "AWS_CLOUDHSM"}),
            ("UnsupportedOperationException", "CreateKey",
             {"CustomKeyStoreId": store, "Origin": "AWS_CLOUDHSM", "MultiRegion": True}),
            ("ValidationException", "UpdateCustomKeyStore", {"CustomKeyStoreId": store}),
            ("CustomKeyStoreInvalidStateException", "UpdateCustomKeyStore",
             {"CustomKeyStoreId": store, "CloudHsmClusterId": SECOND}),
            ("CustomKeyStoreInvalidStateException", "UpdateCustomKeyStore",
             {"CustomKeyStoreId": store, "KeyStorePassword": PASSWORD}),
            ("InvalidMarkerException", "DescribeCustomKeyStores", {"Marker": "x"})]
    for operation in ("Describe", "Update", "Connect", "Disconnect", "Delete"):
        name = operation + "CustomKeyStore" + ("s" if operation == "Describe" else "")
        more = {"NewCustomKeyStoreName": "x"} if operation == "Update" else {}
        rows.append(("CustomKeyStoreNotFoundException", name, {**nobody, **more}))
        rows.append(("ValidationException", name, {"CustomKeyStoreId": "x" * 65, **more}))
        rows.append(("ValidationException", name, {"CustomKeyStoreId": "", **more}))
    for expected, operation, parameters in rows:
        service.refuses(expected, operation, parameters)
    service.ok("DisconnectCustomKeyStore", CustomKeyStoreId=store)
    service.refuses("CustomKeyStoreInvalidStateException", "DisconnectCustomKeyStore",
                    {"CustomKeyStoreId": store})


def test_update(service, make):
    boto, store, other = service.boto(), make(service, name="one"), make(service, SECOND, name="two")
    key = key_in(service, store)
    boto.update_custom_key_store(CustomKeyStoreId=store, NewCustomKeyStoreName="uno")
    boto.update_custom_key_store(CustomKeyStoreId=store, NewCustomKeyStoreName="uno")
    with refused("CustomKeyStoreNameInUseException"):
        boto.update_custom_key_store(CustomKeyStoreId=store, NewCustomKeyStoreName="two")
    boto.disconnect_custom_key_store(CustomKeyStoreId=store)
    boto.disconnect_custom_key_store(CustomKeyStoreId=other)
    boto.update_custom_key_store(CustomKeyStoreId=store, KeyStorePassword="another1",
                                 CloudHsmClusterId=FIRST)
    for expected, cluster in (("CloudHsmClusterInUseException", SECOND),
                              ("CloudHsmClusterNotFoundException", "cluster-abcdefghijk")):
        with refused(expected):
            boto.update_custom_key_store(CustomKeyStoreId=store, CloudHsmClusterId=cluster)
    boto.delete_custom_key_store(CustomKeyStoreId=other)
    with refused("CloudHsmClusterNotRelatedException"):
        boto.update_custom_key_store(CustomKeyStoreId=store, CloudHsmClusterId=SECOND)
    (service.dir / f"{SECOND}.pin").unlink()
    with refused("CloudHsmClusterNotActiveException"):
        boto.update_custom_key_store(CustomKeyStoreId=store, CloudHsmClusterId=SECOND)
    shown = entry(service, store)
    assert shown["CustomKeyStoreName"] == "uno" and shown["CloudHsmClusterId"] == FIRST
    boto.connect_custom_key_store(CustomKeyStoreId=store)
    assert opens(service, encrypt(service, key))


def test_a_store_moves_to_a_token_with_the_same_keys(service, make):
    """Two sections for one token stand for a token and its copy in another machine."""
    path = service.dir / "hsmkms.conf"
    text = path.read_text()
    path.write_text(text.replace(f"uri = pkcs11:token={SECOND}", f"uri = pkcs11:token={FIRST}")
                    .replace(str(service.dir / f"{SECOND}.pin"), str(service.dir / f"{FIRST}.pin")))
    service.restart()
    boto, store = service.boto(), make(service)
    key = key_in(service, store)
    blob = encrypt(service, key)
    boto.disconnect_custom_key_store(CustomKeyStoreId=store)
    boto.update_custom_key_store(CustomKeyStoreId=store, CloudHsmClusterId=SECOND)
    boto.connect_custom_key_store(CustomKeyStoreId=store)
    assert boto.describe_key(KeyId=key)["KeyMetadata"]["CloudHsmClusterId"] == SECOND
    assert opens(service, blob)
    service.restart()
    assert opens(service, blob)


def test_pages(service, make):
    stores = sorted([make(service, connect=False), make(service, SECOND, name="other", connect=False)])
    boto = service.boto()
    pages = list(boto.get_paginator("describe_custom_key_stores").paginate(
        PaginationConfig={"PageSize": 1}))
    assert [[s["CustomKeyStoreId"] for s in page["CustomKeyStores"]] for page in pages] == [
        [stores[0]], [stores[1]]]
    whole = boto.describe_custom_key_stores()
    assert [s["CustomKeyStoreId"] for s in whole["CustomKeyStores"]] == stores and not whole["Truncated"]


@pytest.mark.parametrize("section, what", [
    ("[token.second]\nmodule = /x\nuri = pkcs11:\npin_file = /x\n", "cluster-"),
    ("[token.cluster-abcdefghij1]\nmodule = /x\nuri = pkcs11:\npin_file = /x\n", "cluster-"),
    ("[token.cluster-abcdefghijk]\nmodule = /x\nuri = pkcs11:\n", "pin_file"),
    ("[token.cluster-abcdefghijk]\npin = 1234\n", "no setting")])
def test_configurations_that_are_refused(tmp_path, section, what):
    path = tmp_path / "hsmkms.conf"
    path.write_text("[service]\nstate_dir = /x\n[token]\nmodule = /x\nuri = pkcs11:\npin_file = /x\n" + section)
    result = subprocess.run([kms.BUILD / "hsmkmsd", "--config", path, "--check-config"], check=False,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert result.returncode == 2 and what in result.stdout


# who may


def user(service, name, *actions, account=None):
    """A user who may do some things to everything."""
    where = ["--account", account] if account else []
    policy = service.dir / f"{name}.json"
    policy.write_text(kms.json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": list(actions), "Resource": "*"}]}))
    service.admin("user", "create", *where, name)
    service.admin("policy", "put", *where, "--user", name, "--name", "p", policy)
    made = kms.json.loads(service.admin("key", "create", *where, "--user", name).stdout)
    return kms.Credential(made["AccessKeyId"], made["SecretAccessKey"])


CALLS = ("CreateCustomKeyStore", "UpdateCustomKeyStore", "ConnectCustomKeyStore",
         "DisconnectCustomKeyStore", "DeleteCustomKeyStore", "DescribeCustomKeyStores")


def test_each_operation_is_an_action_of_its_own(service, make, anchor):
    store = make(service)
    reader = user(service, "reader", "kms:Describe*")
    switcher = user(service, "switcher", "kms:ConnectCustomKeyStore", "kms:DisconnectCustomKeyStore")
    for name in CALLS:
        parameters = create(anchor) if name.startswith("Create") else {"CustomKeyStoreId": store}
        if name.startswith("Update"):
            parameters["NewCustomKeyStoreName"] = "another"
        for who, may in ((reader, ("Describe",)), (switcher, ("Connect", "Disconnect"))):
            if name.removesuffix("s").removesuffix("CustomKeyStore") not in may:
                service.refuses("AccessDeniedException", name, parameters, credential=who)
    assert service.call("DescribeCustomKeyStores", {}, credential=reader).json["CustomKeyStores"]
    for operation, expected in (("Disconnect", "DISCONNECTED"), ("Connect", "CONNECTED")):
        answer = service.call(operation + "CustomKeyStore", {"CustomKeyStoreId": store},
                              credential=switcher)
        assert answer.status == 200 and state(service, store) == expected


def test_other_accounts_see_no_stores(service, make, anchor):
    store = make(service)
    service.admin("account", "add", "222222222222")
    stranger = user(service, "stranger", "kms:*", account="222222222222")
    for name in CALLS[1:]:
        parameters = {"CustomKeyStoreId": store}
        if name.startswith("Update"):
            parameters["NewCustomKeyStoreName"] = "mine"
        service.refuses("CustomKeyStoreNotFoundException", name, parameters, credential=stranger)
    service.refuses("UnsupportedOperationException", "CreateCustomKeyStore", create(anchor),
                    credential=stranger)
    service.refuses("CustomKeyStoreNotFoundException", "CreateKey",
                    {"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": store}, credential=stranger)
    service.refuses("CustomKeyStoreNotFoundException", "GenerateRandom",
                    {"NumberOfBytes": 8, "CustomKeyStoreId": store}, credential=stranger)
    assert service.call("DescribeCustomKeyStores", {}, credential=stranger).json == {
        "CustomKeyStores": [], "Truncated": False}


# what is written down, and what is not


def test_the_password_is_kept_nowhere(service, anchor):
    secret = "Tr0ub4dor-n-3"
    service.ok("CreateCustomKeyStore", **create(anchor, KeyStorePassword=secret))
    answer = service.refuses("ValidationException", "CreateCustomKeyStore",
                             create(anchor, KeyStorePassword=secret * 9))
    assert "keyStorePassword" in answer.message and secret not in answer.text
    service.stop()
    for path in service.dir.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_what_the_audit_trail_says(service, make):
    store = make(service, name="audited")
    key = key_in(service, store)
    service.ok("DisconnectCustomKeyStore", CustomKeyStoreId=store)
    records = {r["eventName"]: r for r in service.audit()}
    made = records["CreateCustomKeyStore"]
    assert made["requestParameters"] == {"customKeyStoreName": "audited", "cloudHsmClusterId": FIRST,
                                         "customKeyStoreType": "AWS_CLOUDHSM"}
    assert made["responseElements"] == {"customKeyStoreId": store}
    for name in ("ConnectCustomKeyStore", "DisconnectCustomKeyStore"):
        assert records[name]["requestParameters"] == {"customKeyStoreId": store}
        assert not records[name]["readOnly"]
    assert records["CreateKey"]["responseElements"]["keyMetadata"]["customKeyStoreId"] == store
    assert records["CreateKey"]["resources"][0]["ARN"] == key.arn
    service.audit_verify()


def test_health_metrics_and_status(service, make):
    store = make(service)
    key_in(service, store)
    shown = kms.json.loads(service.admin("status").stdout)["KeyStores"]
    assert [(s["CustomKeyStoreId"], s["ConnectionState"], s["Token"]["Label"]) for s in shown] == [
        (store, "CONNECTED", FIRST)]
    assert health(service) == (200, {FIRST: "ok"})
    label = rf'\{{token="{FIRST}"\}} '
    assert re.search(rf"^hsmkms_token_available{label}1$", service.metrics(), re.M)
    assert re.search(rf"^hsmkms_token_keys{label}1$", service.metrics(), re.M)
    service.ok("DisconnectCustomKeyStore", CustomKeyStoreId=store)
    assert health(service) == (200, {FIRST: "disconnected"})
    assert FIRST not in service.metrics()
    assert "Token" not in kms.json.loads(service.admin("status").stdout)["KeyStores"][0]


def health(service):
    connection = kms.http.client.HTTPConnection(service.exports["HSMKMS_OPS_URL"].split("//")[1], timeout=20)
    connection.request("GET", "/health")
    response = connection.getresponse()
    return response.status, kms.json.loads(response.read())["stores"]
