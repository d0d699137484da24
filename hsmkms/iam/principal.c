#include "hsmkms/iam/principal.h"

#include <stdio.h>

#include "hsmkms/base/buf.h"
#include "hsmkms/crypto/digest.h"

#define USER_NAME_MAX  64
#define USER_ID_DOMAIN "hsmkms user"

/* RFC 4648 section 6: 5 bits a letter; 80 bits need no padding. */
void unique_id_format(char ret[UNIQUE_ID_LEN + 1], const char *prefix,
                      const uint8_t bits[UNIQUE_ID_BITS])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    unsigned pending = 0, pending_bits = 0;
    size_t at = strlen(prefix);

    memcpy(ret, prefix, at);
    for (size_t i = 0; i < UNIQUE_ID_BITS; i++) {
        pending = pending << 8 | bits[i];
        pending_bits += 8;
        for (; pending_bits >= 5; pending_bits -= 5)
            ret[at++] = letters[pending >> (pending_bits - 5) & 31];
    }
    ret[at] = '\0';
}

bool principal_user_name_valid(const char *user_name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789+=,.@_-";
    const size_t len = strnlen(user_name, USER_NAME_MAX + 1);

    return len >= 1 && len <= USER_NAME_MAX && strspn(user_name, allowed) == len;
}

/* Made from names rather than stored, so there is nothing to keep in step. */
static int user_id(const char *account, const char *user_name, char ret[UNIQUE_ID_LEN + 1],
                   struct kms_error *err)
{
    uint8_t digest[SHA256_LEN];
    AUTO(buf) text = { 0 };

    buf_printf(&text, USER_ID_DOMAIN "/%s/%s", account, user_name);
    if (buf_check(&text, err) < 0 || sha256_of(buf_span(&text), digest, err) < 0)
        return -1;
    unique_id_format(ret, "AIDA", digest);
    return 0;
}

int principal_of_user(const char *account, const char *user_name, const char *access_key_id,
                      struct principal *ret, struct kms_error *err)
{
    const bool root = user_name[0] == '\0';
    struct principal made = { .kind = root ? PRINCIPAL_ROOT : PRINCIPAL_USER };
    char id[UNIQUE_ID_LEN + 1] = "";

    if (!root && user_id(account, user_name, id, err) < 0)
        return -1;
    (void)snprintf(made.account, sizeof(made.account), "%s", account);
    (void)snprintf(made.arn, sizeof(made.arn), "arn:aws:iam::%s:%s%s", account,
                   root ? "root" : "user/", user_name);
    (void)snprintf(made.id, sizeof(made.id), "%s", root ? account : id);
    (void)snprintf(made.user_name, sizeof(made.user_name), "%s", user_name);
    (void)snprintf(made.access_key_id, sizeof(made.access_key_id), "%s", access_key_id);
    *ret = made;
    return 0;
}
