#include "hsmkms/crypto/spki.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "hsmkms/crypto/openssl_key.h"

int spki_format(const struct public_key *key, struct buf *ret, struct kms_error *err)
{
    EVP_PKEY *const made = openssl_key_of(key);
    unsigned char *der = NULL;
    const int len = made ? i2d_PUBKEY(made, &der) : -1;

    EVP_PKEY_free(made);
    if (len <= 0)
        return openssl_failed(err, "a SubjectPublicKeyInfo");
    buf_append(ret, span_of(der, (size_t)len));
    OPENSSL_free(der);
    return buf_check(ret, err);
}

/* The point of a parsed key, which OpenSSL has seen to be on its curve; 0 bytes for none. */
static size_t point_of(EVP_PKEY *key, uint8_t ret[PUBLIC_POINT_MAX])
{
    size_t len = 0;

    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC ||
        EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, ret, PUBLIC_POINT_MAX,
                                        &len) != 1)
        return 0;
    return len;
}

int spki_parse_point(enum public_kind kind, struct span der, struct buf *ret,
                     struct kms_error *err)
{
    const unsigned char *at = der.ptr;
    uint8_t point[PUBLIC_POINT_MAX];
    EVP_PKEY *const key = d2i_PUBKEY(NULL, &at, (long)der.len);
    const size_t len = key ? point_of(key, point) : 0;
    const struct public_key parsed = { kind, span_of(point, len) };
    struct kms_error other = { 0 };
    AUTO(buf) again = { 0 };

    EVP_PKEY_free(key);
    ERR_clear_error();
    /* written again it is the same: one form, and the curve that was asked for */
    if (len == 0 || spki_format(&parsed, &again, &other) < 0 ||
        !span_equal(buf_span(&again), der))
        return kms_fail(err, KMS_ERR_VALIDATION, "%s", "");
    buf_append(ret, parsed.bytes);
    return buf_check(ret, err);
}
