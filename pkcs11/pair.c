#include "pkcs11/pair.h"

#include <assert.h>

#define RSA_EXPONENT     "\x01\x00\x01" /* 65537 */
#define RSA_EXPONENT_LEN 3

/* clang-format off */
#define P256_G \
    "\x04\x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\x77\x03\x7d\x81\x2d" \
    "\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96\x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb" \
    "\x4a\x7c\x0f\x9e\x16\x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5"
#define P384_G \
    "\x04\xaa\x87\xca\x22\xbe\x8b\x05\x37\x8e\xb1\xc7\x1e\xf3\x20\xad\x74\x6e\x1d\x3b\x62\x8b" \
    "\xa7\x9b\x98\x59\xf7\x41\xe0\x82\x54\x2a\x38\x55\x02\xf2\x5d\xbf\x55\x29\x6c\x3a\x54\x5e" \
    "\x38\x72\x76\x0a\xb7\x36\x17\xde\x4a\x96\x26\x2c\x6f\x5d\x9e\x98\xbf\x92\x92\xdc\x29\xf8" \
    "\xf4\x1d\xbd\x28\x9a\x14\x7c\xe9\xda\x31\x13\xb5\xf0\xb8\xc0\x0a\x60\xb1\xce\x1d\x7e\x81" \
    "\x9d\x7a\x43\x1d\x7c\x90\xea\x0e\x5f"
#define P521_G \
    "\x04\x00\xc6\x85\x8e\x06\xb7\x04\x04\xe9\xcd\x9e\x3e\xcb\x66\x23\x95\xb4\x42\x9c\x64\x81" \
    "\x39\x05\x3f\xb5\x21\xf8\x28\xaf\x60\x6b\x4d\x3d\xba\xa1\x4b\x5e\x77\xef\xe7\x59\x28\xfe" \
    "\x1d\xc1\x27\xa2\xff\xa8\xde\x33\x48\xb3\xc1\x85\x6a\x42\x9b\xf9\x7e\x7e\x31\xc2\xe5\xbd" \
    "\x66\x01\x18\x39\x29\x6a\x78\x9a\x3b\xc0\x04\x5c\x8a\x5f\xb4\x2c\x7d\x1b\xd9\x98\xf5\x44" \
    "\x49\x57\x9b\x44\x68\x17\xaf\xbd\x17\x27\x3e\x66\x2c\x97\xee\x72\x99\x5e\xf4\x26\x40\xc5" \
    "\x50\xb9\x01\x3f\xad\x07\x61\x35\x3c\x70\x86\xa2\x72\xc2\x40\x88\xbe\x94\x76\x9f\xd1\x66" \
    "\x50"
#define SECP256K1_G \
    "\x04\x79\xbe\x66\x7e\xf9\xdc\xbb\xac\x55\xa0\x62\x95\xce\x87\x0b\x07\x02\x9b\xfc\xdb\x2d" \
    "\xce\x28\xd9\x59\xf2\x81\x5b\x16\xf8\x17\x98\x48\x3a\xda\x77\x26\xa3\xc4\x65\x5d\xa4\xfb" \
    "\xfc\x0e\x11\x08\xa8\xfd\x17\xb4\x48\xa6\x85\x54\x19\x9c\x47\xd0\x8f\xfb\x10\xd4\xb8"

#define CURVE_P256      "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
#define CURVE_P384      "\x06\x05\x2b\x81\x04\x00\x22"
#define CURVE_P521      "\x06\x05\x2b\x81\x04\x00\x23"
#define CURVE_SECP256K1 "\x06\x05\x2b\x81\x04\x00\x0a"
#define CURVE_ED25519   "\x06\x03\x2b\x65\x70"

#define LITERAL(text) { (const uint8_t *)(text), sizeof(text) - 1 }
#define NONE          { NULL, 0 }

#define RSA(name, bytes)                    { name, CKM_RSA_PKCS_KEY_PAIR_GEN, CKK_RSA, bytes, 0, NONE, NONE, \
                                              { [TOKEN_SIGNS] = true, [TOKEN_DECRYPTS] = true }, TOKEN_RSA_2048 }
#define EC(name, bytes, digest, oid, g, agrees, kind) { name, CKM_EC_KEY_PAIR_GEN, CKK_EC, bytes, digest, LITERAL(oid), LITERAL(g), \
                                              { [TOKEN_SIGNS] = true, [TOKEN_AGREES] = agrees }, kind }

static const struct pair pairs[TOKEN_KINDS] = {
    [TOKEN_RSA_2048]     = RSA("RSA-2048", 256),
    [TOKEN_RSA_3072]     = RSA("RSA-3072", 384),
    [TOKEN_RSA_4096]     = RSA("RSA-4096", 512),
    /*                        name        field digest curve            generator    agrees */
    [TOKEN_P256]         = EC("P-256",     32,  32,    CURVE_P256,      P256_G,      true,  TOKEN_P256),
    [TOKEN_P384]         = EC("P-384",     48,  48,    CURVE_P384,      P384_G,      true,  TOKEN_P384),
    [TOKEN_P521]         = EC("P-521",     66,  64,    CURVE_P521,      P521_G,      true,  TOKEN_P521),
    [TOKEN_SECP256K1]    = EC("secp256k1", 32,  32,    CURVE_SECP256K1, SECP256K1_G, false, TOKEN_SECP256K1),
    [TOKEN_EDWARDS25519] = { "Ed25519", CKM_EC_EDWARDS_KEY_PAIR_GEN, CKK_EC_EDWARDS, 32, 0,
                             LITERAL(CURVE_ED25519), NONE, { [TOKEN_SIGNS] = true }, TOKEN_EDWARDS25519 },
};

#define INFO(oid_end, len) "\x30" len "\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02" oid_end "\x05\x00\x04"
#define INFO_SHA256 INFO("\x01", "\x31") "\x20"
#define INFO_SHA384 INFO("\x02", "\x41") "\x30"
#define INFO_SHA512 INFO("\x03", "\x51") "\x40"

static const struct algorithm algorithms[TOKEN_ALGORITHMS] = {
    /*                            name                   use             key type            mechanism          hash        mask generator   digest */
    [TOKEN_RSA_PKCS1_SHA256] = { "RSA-PKCS1 SHA-256",    TOKEN_SIGNS,    CKK_RSA,            CKM_RSA_PKCS,      0,          0,               32, LITERAL(INFO_SHA256) },
    [TOKEN_RSA_PKCS1_SHA384] = { "RSA-PKCS1 SHA-384",    TOKEN_SIGNS,    CKK_RSA,            CKM_RSA_PKCS,      0,          0,               48, LITERAL(INFO_SHA384) },
    [TOKEN_RSA_PKCS1_SHA512] = { "RSA-PKCS1 SHA-512",    TOKEN_SIGNS,    CKK_RSA,            CKM_RSA_PKCS,      0,          0,               64, LITERAL(INFO_SHA512) },
    [TOKEN_RSA_PSS_SHA256]   = { "RSA-PSS SHA-256",      TOKEN_SIGNS,    CKK_RSA,            CKM_RSA_PKCS_PSS,  CKM_SHA256, CKG_MGF1_SHA256, 32, NONE },
    [TOKEN_RSA_PSS_SHA384]   = { "RSA-PSS SHA-384",      TOKEN_SIGNS,    CKK_RSA,            CKM_RSA_PKCS_PSS,  CKM_SHA384, CKG_MGF1_SHA384, 48, NONE },
    [TOKEN_RSA_PSS_SHA512]   = { "RSA-PSS SHA-512",      TOKEN_SIGNS,    CKK_RSA,            CKM_RSA_PKCS_PSS,  CKM_SHA512, CKG_MGF1_SHA512, 64, NONE },
    [TOKEN_ECDSA]            = { "ECDSA",                TOKEN_SIGNS,    CKK_EC,             CKM_ECDSA,         0,          0,               0,  NONE },
    [TOKEN_ED25519]          = { "Ed25519",              TOKEN_SIGNS,    CKK_EC_EDWARDS,     CKM_EDDSA,         0,          0,               0,  NONE },
    [TOKEN_RSA_OAEP_SHA1]    = { "RSA-OAEP SHA-1",       TOKEN_DECRYPTS, CKK_RSA,            CKM_RSA_PKCS_OAEP, CKM_SHA_1,  CKG_MGF1_SHA1,   0,  NONE },
    [TOKEN_RSA_OAEP_SHA256]  = { "RSA-OAEP SHA-256",     TOKEN_DECRYPTS, CKK_RSA,            CKM_RSA_PKCS_OAEP, CKM_SHA256, CKG_MGF1_SHA256, 0,  NONE },
    [TOKEN_ECDH]             = { "ECDH",                 TOKEN_AGREES,   CKK_EC,             CKM_ECDH1_DERIVE,  0,          0,               0,  NONE },
    [TOKEN_MAC]              = { "HMAC",                 TOKEN_SIGNS,    CKK_GENERIC_SECRET, 0,                 0,          0,               0,  NONE },
};
/* clang-format on */

const struct pair *pair_of(enum token_kind kind)
{
    return pairs[kind].name ? &pairs[kind] : NULL;
}

const struct algorithm *algorithm_of(enum token_algorithm algorithm)
{
    return &algorithms[algorithm];
}

bool algorithm_fits(const struct algorithm *algorithm, const struct pair *pair)
{
    return algorithm->type == pair->type && pair->uses[algorithm->use];
}

void pair_mechanism(const struct algorithm *algorithm, struct pair_mechanism *ret)
{
    *ret = (struct pair_mechanism){ .mechanism = { algorithm->mechanism, NULL, 0 } };
    if (algorithm->mechanism == CKM_RSA_PKCS_PSS) {
        ret->params.pss =
            (CK_RSA_PKCS_PSS_PARAMS){ algorithm->hash, algorithm->mgf, algorithm->digest_len };
        ret->mechanism.pParameter = &ret->params.pss;
        ret->mechanism.ulParameterLen = sizeof(ret->params.pss);
    } else if (algorithm->mechanism == CKM_RSA_PKCS_OAEP) {
        ret->params.oaep = (CK_RSA_PKCS_OAEP_PARAMS){ .hashAlg = algorithm->hash,
                                                      .mgf = algorithm->mgf,
                                                      .source = CKZ_DATA_SPECIFIED };
        ret->mechanism.pParameter = &ret->params.oaep;
        ret->mechanism.ulParameterLen = sizeof(ret->params.oaep);
    }
}

void mechanisms_add(struct mechanisms *mechanisms, CK_MECHANISM_TYPE mechanism)
{
    size_t place = 0;

    while (place < mechanisms->count && mechanisms->list[place] < mechanism)
        place++;
    if (place < mechanisms->count && mechanisms->list[place] == mechanism)
        return;
    memmove(&mechanisms->list[place + 1], &mechanisms->list[place],
            (mechanisms->count - place) * sizeof(mechanism));
    mechanisms->list[place] = mechanism;
    mechanisms->count++;
}

/* Templates */

void pair_template(struct attrs *ret, const struct pair *pair, enum token_use use,
                   const struct profile *profile, enum key_place place,
                   const struct mechanisms *allowed)
{
    attrs_ulong(ret, CKA_CLASS, CKO_PRIVATE_KEY);
    attrs_ulong(ret, CKA_KEY_TYPE, pair->type);
    attrs_bool(ret, CKA_TOKEN, place == KEY_IN_TOKEN);
    attrs_bool(ret, CKA_PRIVATE, true);
    attrs_bool(ret, CKA_SENSITIVE, true);
    attrs_bool(ret, CKA_EXTRACTABLE, false);
    attrs_bool(ret, CKA_MODIFIABLE, false);
    attrs_bool(ret, CKA_SIGN, use == TOKEN_SIGNS);
    attrs_bool(ret, CKA_SIGN_RECOVER, false);
    attrs_bool(ret, CKA_DECRYPT, use == TOKEN_DECRYPTS);
    attrs_bool(ret, CKA_DERIVE, use == TOKEN_AGREES);
    attrs_bool(ret, CKA_UNWRAP, false);
    if (profile->allowed_mechanisms)
        attrs_bytes(ret, CKA_ALLOWED_MECHANISMS,
                    span_of(allowed->list, allowed->count * sizeof(allowed->list[0])));
}

void pair_import_template(struct attrs *ret, const struct pair *pair,
                          const struct token_private *numbers)
{
    if (pair->type != CKK_RSA) {
        attrs_bytes(ret, CKA_EC_PARAMS, pair->curve);
        attrs_bytes(ret, CKA_VALUE, numbers->scalar);
        return;
    }
    attrs_bytes(ret, CKA_MODULUS, numbers->modulus);
    attrs_bytes(ret, CKA_PUBLIC_EXPONENT, SPAN_LITERAL(RSA_EXPONENT));
    attrs_bytes(ret, CKA_PRIVATE_EXPONENT, numbers->exponent);
    attrs_bytes(ret, CKA_PRIME_1, numbers->prime1);
    attrs_bytes(ret, CKA_PRIME_2, numbers->prime2);
    attrs_bytes(ret, CKA_EXPONENT_1, numbers->exponent1);
    attrs_bytes(ret, CKA_EXPONENT_2, numbers->exponent2);
    attrs_bytes(ret, CKA_COEFFICIENT, numbers->coefficient);
}

void pair_public_template(struct attrs *ret, const struct pair *pair, enum token_use use,
                          enum key_place place)
{
    attrs_ulong(ret, CKA_CLASS, CKO_PUBLIC_KEY);
    attrs_ulong(ret, CKA_KEY_TYPE, pair->type);
    attrs_bool(ret, CKA_TOKEN, place == KEY_IN_TOKEN);
    attrs_bool(ret, CKA_PRIVATE, false);
    attrs_bool(ret, CKA_VERIFY, use == TOKEN_SIGNS);
    attrs_bool(ret, CKA_ENCRYPT, use == TOKEN_DECRYPTS);
    attrs_bool(ret, CKA_WRAP, false);
    if (pair->type == CKK_RSA) {
        attrs_ulong(ret, CKA_MODULUS_BITS, pair->bytes * 8);
        attrs_bytes(ret, CKA_PUBLIC_EXPONENT, SPAN_LITERAL(RSA_EXPONENT));
    } else {
        attrs_bytes(ret, CKA_EC_PARAMS, pair->curve);
    }
}

/* Public keys */

size_t pair_public_len(const struct pair *pair)
{
    switch (pair->type) {
    case CKK_RSA:
        return pair->bytes + RSA_EXPONENT_LEN;
    case CKK_EC:
        return 1 + 2 * pair->bytes;
    default:
        return pair->bytes;
    }
}

struct span token_public_modulus(const struct token_public *key)
{
    const struct pair *const pair = pair_of(key->kind);

    return pair->type == CKK_RSA ? span_of(key->bytes, pair->bytes) : span_of(NULL, 0);
}

struct span token_public_exponent(const struct token_public *key)
{
    const struct pair *const pair = pair_of(key->kind);

    return pair->type == CKK_RSA ? span_of(key->bytes + pair->bytes, RSA_EXPONENT_LEN)
                                 : span_of(NULL, 0);
}

struct span token_public_point(const struct token_public *key)
{
    return pair_of(key->kind)->type == CKK_RSA ? span_of(NULL, 0) : token_public_span(key);
}

/* Numbers are big-endian, and some tokens put a zero in front. */
static struct span number(const CK_ATTRIBUTE *got)
{
    struct span bytes = span_of(got->pValue, got->ulValueLen);

    while (bytes.len && bytes.ptr[0] == 0)
        bytes = span_of(bytes.ptr + 1, bytes.len - 1);
    return bytes;
}

static bool take_rsa(const struct pair *pair, const struct attrs *got, struct token_public *ret)
{
    const struct span modulus = number(&got->list[0]), exponent = number(&got->list[1]);

    /* a modulus as long as it should be has its highest bit set */
    if (modulus.len != pair->bytes || !(modulus.ptr[0] & 0x80) ||
        !span_equal(exponent, SPAN_LITERAL(RSA_EXPONENT)))
        return false;
    memcpy(ret->bytes, modulus.ptr, modulus.len);
    memcpy(ret->bytes + modulus.len, exponent.ptr, exponent.len);
    return true;
}

#define DER_MAX 3 /* 04 length, and 04 81 length for the points of P-521 */

/* The head of a DER OCTET STRING of so many bytes, fewer than 256. */
static struct span octets_head(size_t len, uint8_t room[DER_MAX])
{
    const bool is_long = len > 0x7f;

    room[0] = 0x04;
    room[1] = is_long ? 0x81 : (uint8_t)len;
    room[2] = (uint8_t)len;
    return span_of(room, is_long ? 3 : 2);
}

/* CKA_EC_POINT is an OCTET STRING in DER by the standard, and bare in some tokens. */
static bool take_point(const struct pair *pair, const struct attrs *got, struct token_public *ret)
{
    const size_t len = pair_public_len(pair);
    struct span bytes = span_of(got->list[0].pValue, got->list[0].ulValueLen), head;
    uint8_t room[DER_MAX];

    if (!attr_same(
            &got->list[1],
            &(CK_ATTRIBUTE){ CKA_EC_PARAMS, (void *)(uintptr_t)pair->curve.ptr, pair->curve.len }))
        return false;
    if (bytes.len > len && (!span_take(&bytes, octets_head(len, room).len, &head) ||
                            !span_equal(head, octets_head(len, room))))
        return false;
    if (bytes.len != len || (pair->type == CKK_EC && bytes.ptr[0] != 0x04))
        return false;
    memcpy(ret->bytes, bytes.ptr, bytes.len);
    return true;
}

CK_RV pair_read_public(struct session *session, CK_OBJECT_HANDLE key, enum token_kind kind,
                       struct token_public *ret)
{
    const struct pair *const pair = pair_of(kind);
    const bool rsa = pair->type == CKK_RSA;
    uint8_t first[TOKEN_RSA_MAX + 8], second[64];
    struct attrs got = { 0 };

    attrs_room(&got, rsa ? CKA_MODULUS : CKA_EC_POINT, first, sizeof(first));
    attrs_room(&got, rsa ? CKA_PUBLIC_EXPONENT : CKA_EC_PARAMS, second, sizeof(second));
    const CK_RV rv = P11_TRY(session, C_GetAttributeValue, key, got.list, got.count);
    if (rv != CKR_OK)
        return ck_class(rv) == RV_BUG ? session_heard(session, session->function, CKR_DATA_INVALID)
                                      : rv;
    *ret = (struct token_public){ .kind = kind, .len = pair_public_len(pair) };
    if (!(rsa ? take_rsa(pair, &got, ret) : take_point(pair, &got, ret)))
        return session_heard(session, "C_GetAttributeValue (public key)", CKR_DATA_INVALID);
    return CKR_OK;
}

/* Nothing that C_CreateObject is not told: the modulus says how long it is. */
static void drop_bits(struct attrs *want)
{
    CK_ULONG kept = 0;

    for (CK_ULONG i = 0; i < want->count; i++)
        if (want->list[i].type != CKA_MODULUS_BITS)
            want->list[kept++] = want->list[i];
    want->count = kept;
}

CK_RV pair_create_public(struct session *session, const struct pair *pair, enum token_use use,
                         struct span public_key, const struct pair_name *name,
                         CK_OBJECT_HANDLE *ret)
{
    uint8_t room[DER_MAX], octets[DER_MAX + TOKEN_PUBLIC_MAX];
    const struct span head = octets_head(public_key.len, room);
    struct attrs want = { 0 };

    assert(public_key.len == pair_public_len(pair));
    pair_public_template(&want, pair, use, name ? KEY_IN_TOKEN : KEY_IN_SESSION);
    if (pair->type == CKK_RSA) {
        drop_bits(&want);
        attrs_bytes(&want, CKA_MODULUS, span_of(public_key.ptr, pair->bytes));
    } else {
        memcpy(octets, head.ptr, head.len);
        memcpy(octets + head.len, public_key.ptr, public_key.len);
        attrs_bytes(&want, CKA_EC_POINT, span_of(octets, head.len + public_key.len));
    }
    if (name) {
        attrs_bytes(&want, CKA_ID, uuid_span(name->id));
        attrs_bytes(&want, CKA_LABEL, span_text(name->label));
    }
    return P11_TRY(session, C_CreateObject, want.list, want.count, ret);
}

CK_RV pair_make_public(struct session *session, const struct pair *pair, struct span point,
                       CK_OBJECT_HANDLE *ret)
{
    assert(pair->type != CKK_RSA);
    return pair_create_public(session, pair, TOKEN_SIGNS, point, NULL, ret);
}
