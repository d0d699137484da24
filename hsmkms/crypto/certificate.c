#include "hsmkms/crypto/certificate.h"

#include <limits.h>

#include <openssl/err.h>
#include <openssl/pem.h>

static bool is_blank(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] == 0 || strchr(" \t\r\n", text.ptr[i]) == NULL)
            return false;
    return true;
}

/* What is left behind the certificate that a reader has taken. */
static struct span rest_of(BIO *reader)
{
    char *rest = NULL;
    const long len = BIO_get_mem_data(reader, &rest);

    return span_of(rest, len > 0 ? (size_t)len : 0);
}

bool certificate_is_pem(struct span text)
{
    static const char begin[] = "-----BEGIN ";
    const uint8_t *const start = text.len ? memmem(text.ptr, text.len, begin, strlen(begin)) : NULL;

    if (start == NULL || text.len > INT_MAX ||
        !is_blank(span_of(text.ptr, (size_t)(start - text.ptr))))
        return false;
    BIO *const reader = BIO_new_mem_buf(text.ptr, (int)text.len);
    X509 *const certificate = reader ? PEM_read_bio_X509(reader, NULL, NULL, NULL) : NULL;
    const bool good = certificate && is_blank(rest_of(reader));
    X509_free(certificate);
    BIO_free(reader);
    ERR_clear_error();
    return good;
}
