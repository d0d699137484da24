#!/usr/bin/python3
"""MongoDB's client-side encryption library against a rig: its own requests, byte by byte.

libmongocrypt builds and signs the HTTP requests and reads the answers; this program only carries
bytes between it and a TLS socket, and plays the key vault collection. Run with the environment of
a TLS rig: csfle.py KEY_ARN. Exit status 0: a value was encrypted and read back in a new session.
"""

import ctypes
import os
import socket
import ssl
import struct
import sys

LIBRARY = ctypes.CDLL("libmongocrypt.so.0")
NEED_MONGO_KEYS, NEED_KMS, READY, DONE = 3, 4, 5, 6

for function in ("mongocrypt_new", "mongocrypt_ctx_new", "mongocrypt_binary_new", "mongocrypt_status_new",
                 "mongocrypt_binary_new_from_data", "mongocrypt_binary_data",
                 "mongocrypt_ctx_next_kms_ctx"):
    getattr(LIBRARY, function).restype = ctypes.c_void_p
LIBRARY.mongocrypt_status_message.restype = ctypes.c_char_p


def document(fields):
    """A BSON document of texts, documents and (subtype, bytes) binaries."""
    body = b""
    for name, value in fields.items():
        if isinstance(value, str):
            data = value.encode() + b"\0"
            body += b"\x02" + name.encode() + b"\0" + struct.pack("<i", len(data)) + data
        elif isinstance(value, dict):
            body += b"\x03" + name.encode() + b"\0" + document(value)
        else:
            body += b"\x05" + name.encode() + b"\0" + struct.pack("<iB", len(value[1]), value[0]) + value[1]
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def binary_field(text, name):
    """(subtype, bytes) of a binary member of a BSON document."""
    start = text.index(b"\x05" + name.encode() + b"\0") + len(name) + 2
    size, subtype = struct.unpack_from("<iB", text, start)
    return subtype, text[start + 5:start + 5 + size]


class Binary:
    """mongocrypt_binary_t over bytes of ours, or empty for the library to fill.

    The library borrows the bytes for as long as it likes, so they live as long as the program.
    """

    alive = []

    def __init__(self, data=None):
        Binary.alive.append(self)
        if data is None:
            self.handle = ctypes.c_void_p(LIBRARY.mongocrypt_binary_new())
        else:
            self.room = ctypes.create_string_buffer(data, len(data))
            self.handle = ctypes.c_void_p(LIBRARY.mongocrypt_binary_new_from_data(
                self.room, ctypes.c_uint32(len(data))))

    def bytes(self):
        data = ctypes.c_void_p(LIBRARY.mongocrypt_binary_data(self.handle))
        return ctypes.string_at(data, LIBRARY.mongocrypt_binary_len(self.handle))


class Session:
    """One mongocrypt_t: its keys are cached, so each session asks the service anew."""

    def __init__(self, access_key, secret):
        self.handle = ctypes.c_void_p(LIBRARY.mongocrypt_new())
        self.providers = Binary(document({"aws": {"accessKeyId": access_key, "secretAccessKey": secret}}))
        self.check(LIBRARY.mongocrypt_setopt_kms_providers(self.handle, self.providers.handle))
        self.check(LIBRARY.mongocrypt_init(self.handle))

    def check(self, ok, context=None):
        if not ok & 0xFF:
            status = ctypes.c_void_p(LIBRARY.mongocrypt_status_new())
            if context is None:
                LIBRARY.mongocrypt_status(self.handle, status)
            else:
                LIBRARY.mongocrypt_ctx_status(context, status)
            sys.exit(LIBRARY.mongocrypt_status_message(status, None).decode())

    def run(self, begin, vault=None):
        """Runs one job of the library to its end and returns the document it makes."""
        context = ctypes.c_void_p(LIBRARY.mongocrypt_ctx_new(self.handle))
        self.check(begin(context), context)
        result = None
        for _ in range(20):
            state = LIBRARY.mongocrypt_ctx_state(context)
            if state == NEED_MONGO_KEYS:
                self.check(LIBRARY.mongocrypt_ctx_mongo_feed(context, Binary(vault).handle), context)
                self.check(LIBRARY.mongocrypt_ctx_mongo_done(context), context)
            elif state == NEED_KMS:
                self.carry(context)
            elif state == READY:
                out = Binary()
                self.check(LIBRARY.mongocrypt_ctx_finalize(context, out.handle), context)
                result = out.bytes()
            elif state == DONE:
                return result
            else:
                self.check(False, context)
        sys.exit("the library does not come to an end")

    def carry(self, context):
        """Every request the library wants to send now."""
        while True:
            request = ctypes.c_void_p(LIBRARY.mongocrypt_ctx_next_kms_ctx(context))
            if not request.value:
                break
            message, endpoint = Binary(), ctypes.c_char_p()
            self.check(LIBRARY.mongocrypt_kms_ctx_message(request, message.handle), context)
            self.check(LIBRARY.mongocrypt_kms_ctx_endpoint(request, ctypes.byref(endpoint)), context)
            host, port = endpoint.value.decode().split(":")
            with connect(host, int(port)) as connection:
                connection.sendall(message.bytes())
                print(message.bytes().split(b"\r\n\r\n")[0].split(b"Host:")[1].split(b"\r\n")[0].decode())
                while LIBRARY.mongocrypt_kms_ctx_bytes_needed(request) > 0:
                    data = connection.recv(4096)
                    if not data:
                        sys.exit("connection closed within the answer")
                    if not LIBRARY.mongocrypt_kms_ctx_feed(request, Binary(data).handle) & 0xFF:
                        status = ctypes.c_void_p(LIBRARY.mongocrypt_status_new())
                        LIBRARY.mongocrypt_kms_ctx_status(request, status)
                        reason = LIBRARY.mongocrypt_status_message(status, None).decode()
                        sys.exit(f"answer refused: {reason}\n{data[:500]}")
        self.check(LIBRARY.mongocrypt_ctx_kms_done(context), context)


def connect(host, port):
    context = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
    return context.wrap_socket(socket.create_connection((host, port), timeout=30), server_hostname=host)


def main():
    key_arn = sys.argv[1]
    # the library wants a dot in the host name
    endpoint = os.environ["AWS_ENDPOINT_URL_KMS"].split("//")[1].replace("localhost", "127.0.0.1")
    credential = (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])

    def data_key(context):
        master = Binary(document({"provider": "aws", "region": "us-east-1", "key": key_arn,
                                  "endpoint": endpoint}))
        return LIBRARY.mongocrypt_ctx_setopt_key_encryption_key(context, master.handle) and \
            LIBRARY.mongocrypt_ctx_datakey_init(context)

    vault = Session(*credential).run(data_key)
    plain = document({"v": "a value of the application"})

    def encrypt(context):
        algorithm = b"AEAD_AES_256_CBC_HMAC_SHA_512-Random"
        return LIBRARY.mongocrypt_ctx_setopt_key_id(context, Binary(binary_field(vault, "_id")[1]).handle) \
            and LIBRARY.mongocrypt_ctx_setopt_algorithm(context, algorithm, -1) \
            and LIBRARY.mongocrypt_ctx_explicit_encrypt_init(context, Binary(plain).handle)

    sealed = Session(*credential).run(encrypt, vault)
    assert b"a value" not in sealed

    def decrypt(context):
        return LIBRARY.mongocrypt_ctx_explicit_decrypt_init(context, Binary(sealed).handle)

    assert Session(*credential).run(decrypt, vault) == plain
    print("libmongocrypt: ok")


main()
