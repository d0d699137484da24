#!/usr/bin/python3
"""Makes one SoftHSM2 token without a PIN on any command line.

init_softhsm.py MODULE LABEL SO_PIN_FILE PIN_FILE     (SOFTHSM2_CONF names the token directory)

softhsm2-util takes PINs from its arguments or from a terminal, and arguments are readable by every
process of the machine. This calls the same functions of the module with PINs read from files.
Source: PKCS #11 v2.40, C_InitToken, C_InitPIN.
"""

import ctypes
import sys

CKF_RW_SERIAL = 0x6
CKF_TOKEN_INITIALIZED = 0x400
CKU_SO = 0


class TokenInfo(ctypes.Structure):
    """CK_TOKEN_INFO as far as it is read here."""

    _fields_ = [("label", ctypes.c_char * 32), ("manufacturer", ctypes.c_char * 32),
                ("model", ctypes.c_char * 16), ("serial", ctypes.c_char * 16),
                ("flags", ctypes.c_ulong), ("rest", ctypes.c_char * 256)]


def call(module, name, *args):
    """Calls one C_ function; anything but CKR_OK ends the program."""
    rv = getattr(module, name)(*args)
    if rv != 0:
        sys.exit(f"init_softhsm.py: {name} returned 0x{rv:x}")


def slots(module):
    """All slot numbers with a token in them."""
    count = ctypes.c_ulong()
    call(module, "C_GetSlotList", 1, None, ctypes.byref(count))
    numbers = (ctypes.c_ulong * count.value)()
    call(module, "C_GetSlotList", 1, numbers, ctypes.byref(count))
    return list(numbers)


def token_info(module, slot):
    """CK_TOKEN_INFO of a slot."""
    info = TokenInfo()
    call(module, "C_GetTokenInfo", ctypes.c_ulong(slot), ctypes.byref(info))
    return info


def read_pin(path):
    """A PIN file holds the PIN and nothing else."""
    with open(path, "rb") as file:
        return file.read().rstrip(b"\n")


def slot_of(module, label):
    """The slot number changes when a token is initialised, so a token is found by its label."""
    for slot in slots(module):
        info = token_info(module, slot)
        if info.flags & CKF_TOKEN_INITIALIZED and info.label.rstrip(b" ") == label.rstrip(b" "):
            return slot
    return None


def main():
    module_path, label, so_pin_file, pin_file = sys.argv[1:]
    so_pin, pin = read_pin(so_pin_file), read_pin(pin_file)
    module = ctypes.CDLL(module_path)
    label = label.encode().ljust(32, b" ")
    call(module, "C_Initialize", None)
    if slot_of(module, label) is not None:
        sys.exit("init_softhsm.py: a token of this label exists")
    free = [s for s in slots(module) if not token_info(module, s).flags & CKF_TOKEN_INITIALIZED]
    if not free:
        sys.exit("init_softhsm.py: no free slot")
    call(module, "C_InitToken", ctypes.c_ulong(free[0]), so_pin, ctypes.c_ulong(len(so_pin)), label)
    session = ctypes.c_ulong()
    call(module, "C_OpenSession", ctypes.c_ulong(slot_of(module, label)),
         ctypes.c_ulong(CKF_RW_SERIAL), None, None, ctypes.byref(session))
    call(module, "C_Login", session, ctypes.c_ulong(CKU_SO), so_pin, ctypes.c_ulong(len(so_pin)))
    call(module, "C_InitPIN", session, pin, ctypes.c_ulong(len(pin)))
    call(module, "C_Finalize", None)


main()
