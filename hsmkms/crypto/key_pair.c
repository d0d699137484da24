#include "hsmkms/crypto/key_pair.h"

#include <openssl/x509.h>

#include "hsmkms/crypto/openssl_key.h"
#include "hsmkms/crypto/pkcs8.h"

/* NULL on failure. */
static EVP_PKEY *generate(enum public_kind kind, unsigned bits)
{
    if (kind == PUBLIC_RSA)
        return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits);
    if (kind == PUBLIC_ED25519)
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return EVP_PKEY_Q_keygen(NULL, NULL, "EC", openssl_curve(kind));
}

int key_pair_make(enum public_kind kind, unsigned bits, struct secret *ret_private,
                  struct buf *ret_public, struct kms_error *err)
{
    EVP_PKEY *const made = generate(kind, bits);
    unsigned char *der = NULL;
    AUTO(secret) private_key = { 0 };

    if (made == NULL)
        return openssl_failed(err, "making a key pair");
    const int len = i2d_PUBKEY(made, &der);
    const int written = len > 0 ? pkcs8_format(kind, made, &private_key, err)
                                : openssl_failed(err, "a SubjectPublicKeyInfo");
    EVP_PKEY_free(made);
    if (written == 0)
        buf_append(ret_public, span_of(der, (size_t)len));
    OPENSSL_free(der);
    if (written < 0 || buf_check(ret_public, err) < 0)
        return -1;
    *ret_private = secret_take(&private_key);
    return 0;
}
