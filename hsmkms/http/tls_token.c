#include "hsmkms/http/tls_token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gnutls/pkcs11.h>

#define URI_SCHEME "pkcs11:"

bool tls_token_is_uri(const char *key)
{
    return strncmp(key, URI_SCHEME, sizeof(URI_SCHEME) - 1) == 0;
}

int tls_token_start(const char *module, struct kms_error *err)
{
    /* manual: not the modules that the machine is configured with */
    int code = gnutls_pkcs11_init(GNUTLS_PKCS11_FLAG_MANUAL, NULL);

    if (code == 0 && module[0])
        code = gnutls_pkcs11_add_provider(module, NULL);
    if (code < 0)
        return kms_fail(err, KMS_ERR_CONFIG, "GnuTLS cannot use https.key_module %s: %s", module,
                        gnutls_strerror(code));
    return 0;
}

void tls_token_stop(void)
{
    gnutls_pkcs11_deinit();
}

/* The token is logged in; when it is not any more, one try is not GnuTLS's to make. */
static int give_no_pin(void *arg, int attempt, const char *url, const char *label, unsigned flags,
                       char *pin, size_t pin_max)
{
    (void)arg, (void)attempt, (void)url, (void)label, (void)flags, (void)pin, (void)pin_max;
    return GNUTLS_E_PKCS11_PIN_ERROR;
}

static int fail(struct kms_error *err, const char *what, int code)
{
    return kms_fail(err, KMS_ERR_CONFIG, "https.key: %s: %s", what, gnutls_strerror(code));
}

/* A key that the token would hand out is no better than a file. */
static int check_locked(const char *uri, struct kms_error *err)
{
    gnutls_pkcs11_obj_t object = NULL;
    unsigned flags = 0;
    char *private = NULL;

    if (asprintf(&private, "%s%s", uri, strstr(uri, "type=") ? "" : ";type=private") < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for TLS");
    int code = gnutls_pkcs11_obj_init(&object);
    if (code == 0) {
        gnutls_pkcs11_obj_set_pin_function(object, give_no_pin, NULL);
        code = gnutls_pkcs11_obj_import_url(object, private, GNUTLS_PKCS11_OBJ_FLAG_LOGIN);
        if (code == 0)
            code = gnutls_pkcs11_obj_get_flags(object, &flags);
        gnutls_pkcs11_obj_deinit(object);
    }
    free(private);
    if (code < 0)
        return fail(err, "the token does not show the key", code);
    if (!(flags & GNUTLS_PKCS11_OBJ_FLAG_MARK_SENSITIVE))
        return kms_fail(err, KMS_ERR_CONFIG, "https.key: the token gives this key away: it is not "
                                             "sensitive (CKA_SENSITIVE)");
    return 0;
}

static int find(const char *uri, gnutls_privkey_t *ret, struct kms_error *err)
{
    gnutls_privkey_t key = NULL;
    int code = gnutls_privkey_init(&key);

    if (code < 0)
        return fail(err, "no memory", code);
    gnutls_privkey_set_pin_function(key, give_no_pin, NULL);
    code = gnutls_privkey_import_url(key, uri, 0);
    if (code < 0) {
        gnutls_privkey_deinit(key);
        return fail(err, "the token does not show the key", code);
    }
    *ret = key;
    return 0;
}

/* What the listener will ask of it. The certificate knows the public key. */
static int prove(gnutls_privkey_t key, gnutls_pubkey_t certificate, struct kms_error *err)
{
    static unsigned char words[] = "a signature to see whether key and certificate fit";
    const gnutls_datum_t data = { words, sizeof(words) - 1 };
    const int kind = gnutls_privkey_get_pk_algorithm(key, NULL);
    const gnutls_sign_algorithm_t algorithm =
        kind == GNUTLS_PK_RSA ? GNUTLS_SIGN_RSA_PSS_RSAE_SHA256 : GNUTLS_SIGN_ECDSA_SHA256;
    gnutls_datum_t signature = { 0 };

    if (kind != GNUTLS_PK_RSA && kind != GNUTLS_PK_ECDSA)
        return kms_fail(err, KMS_ERR_CONFIG, "the TLS key must be an RSA or EC key");
    int code = gnutls_privkey_sign_data2(key, algorithm, 0, &data, &signature);
    if (code < 0)
        return fail(err, "the token does not sign", code);
    code = gnutls_pubkey_verify_data2(certificate, algorithm, 0, &data, &signature);
    gnutls_free(signature.data);
    return code < 0 ? kms_fail(err, KMS_ERR_CONFIG, "the TLS key does not belong to the certificate")
                    : 0;
}

int tls_token_key(struct side_token *side, const char *uri, gnutls_pubkey_t certificate,
                  gnutls_privkey_t *ret, struct kms_error *err)
{
    gnutls_privkey_t key = NULL;

    if (side_token_ready(side, err) < 0 || check_locked(uri, err) < 0 || find(uri, &key, err) < 0)
        return -1;
    if (prove(key, certificate, err) < 0) {
        gnutls_privkey_deinit(key);
        return -1;
    }
    *ret = key;
    return 0;
}
