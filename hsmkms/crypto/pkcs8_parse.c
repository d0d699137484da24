#include "hsmkms/crypto/pkcs8_parse.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>

#include "hsmkms/crypto/pkcs8.h"

enum der_tag {
    DER_INTEGER = 0x02,
    DER_BITS = 0x03,
    DER_OCTETS = 0x04,
    DER_SEQUENCE = 0x30,
    DER_FIRST = 0xa0, /* [0] and [1], constructed */
    DER_SECOND = 0xa1,
};

static int no_key(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_VALIDATION, "%s", "");
}

/* --- DER -------------------------------------------------------------------------------------- */

/* A length in its one form, at most 65535. */
static bool take_length(struct span *der, size_t *ret)
{
    struct span byte, more;

    if (!span_take(der, 1, &byte))
        return false;
    if (byte.ptr[0] < 0x80) {
        *ret = byte.ptr[0];
        return true;
    }
    const size_t count = byte.ptr[0] & 0x7f;
    if (count < 1 || count > 2 || !span_take(der, count, &more))
        return false;
    *ret = count == 1 ? more.ptr[0] : (size_t)more.ptr[0] << 8 | more.ptr[1];
    return *ret >= (count == 1 ? 0x80U : 0x100U);
}

/* One element with this tag off the front. */
static bool take(struct span *der, enum der_tag tag, struct span *ret)
{
    struct span rest = *der, head;
    size_t len = 0;

    if (!span_take(&rest, 1, &head) || head.ptr[0] != tag || !take_length(&rest, &len) ||
        !span_take(&rest, len, ret))
        return false;
    *der = rest;
    return true;
}

/* The same where it may be missing: ret is empty then. */
static bool take_if_there(struct span *der, enum der_tag tag, struct span *ret)
{
    *ret = span_of(NULL, 0);
    return der->len == 0 || der->ptr[0] != tag || take(der, tag, ret);
}

/* An INTEGER that is not negative, in its shortest form, without the zero in front. */
static bool take_number(struct span *der, struct span *ret)
{
    struct span bytes;

    if (!take(der, DER_INTEGER, &bytes) || bytes.len == 0 || bytes.ptr[0] & 0x80)
        return false;
    if (bytes.len > 1 && bytes.ptr[0] == 0) {
        if (!(bytes.ptr[1] & 0x80))
            return false;
        bytes = span_of(bytes.ptr + 1, bytes.len - 1);
    }
    *ret = bytes;
    return true;
}

static bool take_small(struct span *der, uint8_t value)
{
    struct span number;

    return take_number(der, &number) && number.len == 1 && number.ptr[0] == value;
}

/* --- kinds ------------------------------------------------------------------------------------ */

static bool read_rsa(struct span der, struct private_numbers *ret)
{
    struct span *const numbers[] = { &ret->modulus,   &ret->public_exponent, &ret->exponent,
                                     &ret->prime1,    &ret->prime2,          &ret->exponent1,
                                     &ret->exponent2, &ret->coefficient };
    struct span rest;

    if (!take(&der, DER_SEQUENCE, &rest) || der.len || !take_small(&rest, 0))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (!take_number(&rest, numbers[i]))
            return false;
    return rest.len == 0;
}

static size_t field_len(enum public_kind kind)
{
    static const size_t lens[PUBLIC_KINDS] = {
        [PUBLIC_P256] = 32, [PUBLIC_P384] = 48, [PUBLIC_P521] = 66, [PUBLIC_SECP256K1] = 32
    };
    return lens[kind];
}

/* A BIT STRING of whole bytes that is an uncompressed point. */
static bool read_point(struct span der, size_t field, struct span *ret)
{
    struct span bits;

    if (!take(&der, DER_BITS, &bits) || der.len || bits.len != 2 + 2 * field || bits.ptr[0] != 0 ||
        bits.ptr[1] != 0x04)
        return false;
    *ret = span_of(bits.ptr + 1, bits.len - 1);
    return true;
}

/* The name of the curve stands outside already; inside it may stand again. */
static bool read_curve(enum public_kind kind, struct span der, struct private_numbers *ret)
{
    struct span rest, parameters, point;

    if (!take(&der, DER_SEQUENCE, &rest) || der.len || !take_small(&rest, 1) ||
        !take(&rest, DER_OCTETS, &ret->scalar) || ret->scalar.len != field_len(kind) ||
        !take_if_there(&rest, DER_FIRST, &parameters) ||
        !take_if_there(&rest, DER_SECOND, &point) || rest.len)
        return false;
    const struct span algorithm = pkcs8_algorithm(kind);
    if (parameters.len &&
        (parameters.len > algorithm.len ||
         !span_equal(parameters,
                     span_of(algorithm.ptr + algorithm.len - parameters.len, parameters.len))))
        return false;
    return point.len == 0 || read_point(point, field_len(kind), &ret->point);
}

int pkcs8_parse(enum public_kind kind, struct span der, struct private_numbers *ret,
                struct kms_error *err)
{
    const struct span algorithm = pkcs8_algorithm(kind);
    struct span rest, named, key, attributes;

    *ret = (struct private_numbers){ 0 };
    if (kind == PUBLIC_ED25519 || !take(&der, DER_SEQUENCE, &rest) || der.len ||
        !take_small(&rest, 0) || !span_take(&rest, algorithm.len, &named) ||
        !span_equal(named, algorithm) || !take(&rest, DER_OCTETS, &key) ||
        !take_if_there(&rest, DER_FIRST, &attributes) || rest.len)
        return no_key(err);
    if (!(kind == PUBLIC_RSA ? read_rsa(key, ret) : read_curve(kind, key, ret)))
        return no_key(err);
    return 0;
}

/* --- points ----------------------------------------------------------------------------------- */

static int curve_nid(enum public_kind kind)
{
    static const int nids[PUBLIC_KINDS] = { [PUBLIC_P256] = NID_X9_62_prime256v1,
                                            [PUBLIC_P384] = NID_secp384r1,
                                            [PUBLIC_P521] = NID_secp521r1,
                                            [PUBLIC_SECP256K1] = NID_secp256k1 };
    return nids[kind];
}

/* Bytes written; 0 for no scalar of the group. number and ctx are in the secure heap. */
static size_t multiply(const EC_GROUP *group, struct span scalar, BIGNUM *number, BN_CTX *ctx,
                       uint8_t ret[PUBLIC_POINT_MAX])
{
    EC_POINT *const point = EC_POINT_new(group);
    size_t len = 0;

    if (point && BN_bin2bn(scalar.ptr, (int)scalar.len, number) && !BN_is_zero(number) &&
        BN_cmp(number, EC_GROUP_get0_order(group)) < 0) {
        BN_set_flags(number, BN_FLG_CONSTTIME);
        if (EC_POINT_mul(group, point, number, NULL, NULL, ctx) == 1)
            len = EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, ret,
                                     PUBLIC_POINT_MAX, ctx);
    }
    EC_POINT_clear_free(point);
    return len;
}

int curve_point_of(enum public_kind kind, struct span scalar, struct buf *ret,
                   struct kms_error *err)
{
    uint8_t point[PUBLIC_POINT_MAX];
    EC_GROUP *const group = EC_GROUP_new_by_curve_name(curve_nid(kind));
    BIGNUM *const number = BN_secure_new();
    BN_CTX *const ctx = BN_CTX_secure_new();
    const bool ready = group && number && ctx;
    const size_t len = ready ? multiply(group, scalar, number, ctx, point) : 0;

    BN_CTX_free(ctx);
    BN_clear_free(number);
    EC_GROUP_free(group);
    ERR_clear_error();
    if (!ready)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "OpenSSL: no room for a point");
    if (len == 0)
        return no_key(err);
    buf_append(ret, span_of(point, len));
    return buf_check(ret, err);
}
