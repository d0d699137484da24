#!/usr/bin/python3
"""Makes one key pair for TLS in a PKCS#11 token, without a PIN on any command line.

make_tls_key.py MODULE LABEL PIN_FILE OBJECT ec|rsa

The private key is sensitive and not extractable and signs, nothing else; the pair's id is random.
Prints nothing. Source: PKCS #11 v2.40, C_GenerateKeyPair; RFC 5480 (prime256v1 as an OID).
"""

import ctypes
import os
import sys

CKU_USER = 1
CKF_RW_SERIAL = 0x6
CKO_PRIVATE_KEY = 3
CKA_CLASS, CKA_TOKEN, CKA_PRIVATE, CKA_LABEL, CKA_ID = 0x0, 0x1, 0x2, 0x3, 0x102
CKA_SENSITIVE, CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP = 0x103, 0x104, 0x105, 0x106, 0x107
CKA_SIGN, CKA_VERIFY, CKA_DERIVE, CKA_EXTRACTABLE = 0x108, 0x10A, 0x10C, 0x162
CKA_MODULUS_BITS, CKA_PUBLIC_EXPONENT, CKA_EC_PARAMS = 0x121, 0x122, 0x180
CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_EC_KEY_PAIR_GEN = 0x0, 0x1040
PRIME256V1 = bytes.fromhex("06082a8648ce3d030107")
RSA_BITS = 3072

KINDS = {
    "ec": (CKM_EC_KEY_PAIR_GEN, {CKA_EC_PARAMS: PRIME256V1}),
    "rsa": (CKM_RSA_PKCS_KEY_PAIR_GEN, {CKA_MODULUS_BITS: RSA_BITS,
                                        CKA_PUBLIC_EXPONENT: b"\x01\x00\x01"}),
}


class Attribute(ctypes.Structure):
    """CK_ATTRIBUTE."""

    _fields_ = [("type", ctypes.c_ulong), ("value", ctypes.c_char_p), ("length", ctypes.c_ulong)]


class Mechanism(ctypes.Structure):
    """CK_MECHANISM."""

    _fields_ = [("mechanism", ctypes.c_ulong), ("parameter", ctypes.c_void_p),
                ("length", ctypes.c_ulong)]


class TokenInfo(ctypes.Structure):
    """CK_TOKEN_INFO as far as it is read here."""

    _fields_ = [("label", ctypes.c_char * 32), ("rest", ctypes.c_char * 512)]


def call(module, name, *args):
    """Calls one C_ function; anything but CKR_OK ends the program."""
    rv = getattr(module, name)(*args)
    if rv != 0:
        sys.exit(f"make_tls_key.py: {name} returned 0x{rv:x}")


def encoded(value):
    """An attribute's value as the token reads it."""
    if isinstance(value, bool):
        return bytes([value])
    return value.to_bytes(ctypes.sizeof(ctypes.c_ulong), sys.byteorder) \
        if isinstance(value, int) else value


def template(attributes):
    """An array of CK_ATTRIBUTE and its length."""
    rows = [Attribute(kind, encoded(value), len(encoded(value))) for kind, value in attributes.items()]
    return (Attribute * len(rows))(*rows), ctypes.c_ulong(len(rows))


def slot_of(module, label):
    """The one slot whose token has this label."""
    count = ctypes.c_ulong()
    call(module, "C_GetSlotList", 1, None, ctypes.byref(count))
    numbers = (ctypes.c_ulong * count.value)()
    call(module, "C_GetSlotList", 1, numbers, ctypes.byref(count))
    found = []
    for number in numbers:
        info = TokenInfo()
        call(module, "C_GetTokenInfo", ctypes.c_ulong(number), ctypes.byref(info))
        if info.label.rstrip(b" ") == label.encode():
            found.append(number)
    if len(found) != 1:
        sys.exit(f"make_tls_key.py: {len(found)} tokens have the label {label}")
    return found[0]


def open_session(module, label, pin_file):
    """A session that is logged in."""
    with open(pin_file, "rb") as file:
        pin = file.read().rstrip(b"\n")
    session = ctypes.c_ulong()
    call(module, "C_OpenSession", ctypes.c_ulong(slot_of(module, label)),
         ctypes.c_ulong(CKF_RW_SERIAL), None, None, ctypes.byref(session))
    call(module, "C_Login", session, ctypes.c_ulong(CKU_USER), pin, ctypes.c_ulong(len(pin)))
    return session


def check_free(module, session, name):
    """Two keys of one name would be found by chance."""
    attributes, count = template({CKA_CLASS: CKO_PRIVATE_KEY, CKA_LABEL: name.encode()})
    handle, found = ctypes.c_ulong(), ctypes.c_ulong()
    call(module, "C_FindObjectsInit", session, attributes, count)
    call(module, "C_FindObjects", session, ctypes.byref(handle), ctypes.c_ulong(1), ctypes.byref(found))
    call(module, "C_FindObjectsFinal", session)
    if found.value:
        sys.exit(f"make_tls_key.py: the token has a key {name} already")


def generate(module, session, name, kind, sensitive=True):
    """The pair, both halves as token objects: certificate requests need the public one. sensitive:
    False for a key that can be read, which no service takes."""
    mechanism, parameters = KINDS[kind]
    named = {CKA_TOKEN: True, CKA_LABEL: name.encode(), CKA_ID: os.urandom(16)}
    public = template({**named, CKA_PRIVATE: False, CKA_VERIFY: True, CKA_ENCRYPT: False,
                       CKA_WRAP: False, **parameters})
    private = template({**named, CKA_PRIVATE: True, CKA_SENSITIVE: sensitive, CKA_EXTRACTABLE: False,
                        CKA_SIGN: True, CKA_DECRYPT: False, CKA_UNWRAP: False, CKA_DERIVE: False})
    handles = ctypes.c_ulong(), ctypes.c_ulong()
    call(module, "C_GenerateKeyPair", session, ctypes.byref(Mechanism(mechanism, None, 0)),
         *public, *private, *map(ctypes.byref, handles))


def main():
    module_path, label, pin_file, name, kind = sys.argv[1:]
    module = ctypes.CDLL(module_path)
    call(module, "C_Initialize", None)
    session = open_session(module, label, pin_file)
    check_free(module, session, name)
    generate(module, session, name, kind)
    call(module, "C_Finalize", None)


if __name__ == "__main__":
    main()
