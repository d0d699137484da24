#include "hsmkms/iam/principal.h"

#include <stdio.h>

#include "hsmkms/iam/session.h"

#define BASE32_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

/* RFC 4648 section 6: 5 bits a letter; 80 bits need no padding. */
void unique_id_format(char ret[UNIQUE_ID_LEN + 1], const char *prefix,
                      const uint8_t bits[UNIQUE_ID_BITS])
{
    static const char letters[] = BASE32_LETTERS;
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

bool unique_id_valid(struct span text, const char *prefix)
{
    const size_t prefix_len = strlen(prefix);

    if (text.len != UNIQUE_ID_LEN || memcmp(text.ptr, prefix, prefix_len) != 0)
        return false;
    for (size_t i = prefix_len; i < text.len; i++)
        if (text.ptr[i] == '\0' || strchr(BASE32_LETTERS, text.ptr[i]) == NULL)
            return false;
    return true;
}

bool identity_name_valid(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789+=,.@_-";
    const size_t len = strnlen(name, IDENTITY_NAME_MAX + 1);

    return len >= 1 && len <= IDENTITY_NAME_MAX && strspn(name, allowed) == len;
}

/* Every text that goes in here has a shorter bound than its room. */
#define PUT(room, ...) ((void)snprintf((room), sizeof(room), __VA_ARGS__))

void principal_of_root(const char *account, const char *access_key_id, struct principal *ret)
{
    *ret = (struct principal){ .kind = PRINCIPAL_ROOT };
    PUT(ret->account, "%s", account);
    PUT(ret->arn, "arn:aws:iam::%s:root", account);
    PUT(ret->principal_arn, "%s", ret->arn);
    PUT(ret->id, "%s", account);
    PUT(ret->access_key_id, "%s", access_key_id);
}

/* What users and sessions have in common. */
static void begin(enum principal_kind kind, struct identity *identity, struct session *session,
                  const char *access_key_id, struct principal *ret)
{
    *ret = (struct principal){ .kind = kind, .identity = identity, .session = session };
    PUT(ret->account, "%s", identity->account);
    PUT(ret->principal_arn, "%s", identity->arn);
    PUT(ret->unique_id, "%s", identity->unique_id);
    PUT(ret->access_key_id, "%s", access_key_id);
}

void principal_of_user(struct identity *user, struct session *session, const char *access_key_id,
                       struct principal *ret)
{
    begin(PRINCIPAL_USER, user, session, access_key_id, ret);
    PUT(ret->arn, "%s", user->arn);
    PUT(ret->id, "%s", user->unique_id);
    PUT(ret->user_name, "%s", user->name);
}

void principal_of_session(struct identity *role, struct session *session, const char *session_name,
                          const char *access_key_id, struct principal *ret)
{
    begin(PRINCIPAL_ROLE_SESSION, role, session, access_key_id, ret);
    PUT(ret->arn, "arn:aws:sts::%s:assumed-role/%s/%s", role->account, role->name, session_name);
    PUT(ret->id, "%s:%s", role->unique_id, session_name);
    PUT(ret->session_name, "%s", session_name);
}

void principal_done(struct principal *principal)
{
    identity_unref(principal->identity);
    session_unref(principal->session);
    *principal = (struct principal){ 0 };
}
