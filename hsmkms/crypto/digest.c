#include "hsmkms/crypto/digest.h"

#include <pthread.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

/* Fetched once: a fetch by name costs more than hashing a request. Never freed; OpenSSL's own
 * exit handler does. */
static struct {
    pthread_once_t once;
    EVP_MD *sha256;
    EVP_MAC_CTX *hmac; /* HMAC-SHA256 without a key: to be copied */
} fetched = { .once = PTHREAD_ONCE_INIT };

static void fetch(void)
{
    char name[] = "SHA256";
    const OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string("digest", name, 0),
                                  OSSL_PARAM_construct_end() };
    EVP_MAC *const hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);

    fetched.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    fetched.hmac = EVP_MAC_CTX_new(hmac); /* NULL for a NULL; found out when it is copied */
    EVP_MAC_free(hmac);                   /* the context holds it */
    if (fetched.hmac && EVP_MAC_CTX_set_params(fetched.hmac, params) != 1) {
        EVP_MAC_CTX_free(fetched.hmac);
        fetched.hmac = NULL;
    }
}

static void fetch_once(void)
{
    (void)pthread_once(&fetched.once, fetch); /* fails only for a bad control word */
}

static int broken(struct kms_error *err, const char *what)
{
    return kms_fail_detail(err, KMS_ERR_INTERNAL, "OpenSSL: %s failed", what);
}

int sha256_init(struct sha256 *ret, struct kms_error *err)
{
    fetch_once();
    EVP_MD_CTX *const ctx = EVP_MD_CTX_new();
    if (ctx == NULL || fetched.sha256 == NULL ||
        EVP_DigestInit_ex2(ctx, fetched.sha256, NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return broken(err, "SHA-256 init");
    }
    ret->ctx = ctx;
    return 0;
}

void sha256_update(struct sha256 *sha, struct span bytes)
{
    if (sha->ctx && EVP_DigestUpdate(sha->ctx, bytes.ptr, bytes.len) != 1)
        sha256_done(sha);
}

int sha256_final(struct sha256 *sha, uint8_t ret[SHA256_LEN], struct kms_error *err)
{
    const bool good = sha->ctx && EVP_DigestFinal_ex(sha->ctx, ret, NULL) == 1;

    sha256_done(sha);
    return good ? 0 : broken(err, "SHA-256");
}

void sha256_done(struct sha256 *sha)
{
    EVP_MD_CTX_free(sha->ctx);
    sha->ctx = NULL;
}

int sha256_of(struct span bytes, uint8_t ret[SHA256_LEN], struct kms_error *err)
{
    fetch_once();
    if (EVP_Digest(bytes.ptr, bytes.len, ret, NULL, fetched.sha256, NULL) != 1)
        return broken(err, "SHA-256");
    return 0;
}

int hmac_sha256(struct span key, struct span bytes, uint8_t ret[SHA256_LEN], struct kms_error *err)
{
    static const uint8_t nothing[1]; /* a NULL pointer would mean "keep the key" */
    size_t len = 0;

    fetch_once();
    EVP_MAC_CTX *const ctx = fetched.hmac ? EVP_MAC_CTX_dup(fetched.hmac) : NULL;
    const bool good = ctx && EVP_MAC_init(ctx, key.len ? key.ptr : nothing, key.len, NULL) == 1 &&
                      EVP_MAC_update(ctx, bytes.ptr, bytes.len) == 1 &&
                      EVP_MAC_final(ctx, ret, &len, SHA256_LEN) == 1 && len == SHA256_LEN;

    EVP_MAC_CTX_free(ctx);
    return good ? 0 : broken(err, "HMAC");
}

bool equal_ct(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.ptr, b.ptr, a.len) == 0);
}
