/*
 * session_token_open: a text that is no token is unrecognized; what was sealed opens to what was
 * claimed, or is no claim, and opens no more with any letter changed or for another access key.
 *
 * Input: one byte, then a token (even) or the claims of one (odd).
 */

#include <stdlib.h>

#include <jansson.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/base/lock.h"
#include "hsmkms/crypto/aead.h"
#include "hsmkms/iam/session_parts.h"

#define ACCESS_KEY "ASIAFUZZFUZZFUZZFUZZ"
#define ANOTHER    "ASIAFUZZFUZZFUZZFUZY"
#define VERSION    1

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static struct sessions sessions;
static struct iam iam = { .sessions = &sessions };

/* One sealing key, all zeroes: it seals nothing but what a fuzzer makes up. */
static void set_up(void)
{
    static const uint8_t zeroes[AEAD_KEY_LEN];
    struct kms_error err = { 0 };

    if (sessions.keys.count)
        return;
    demand(lock_init_fair(&sessions.sealing));
    demand(secret_copy(&sessions.keys.keys[0].key, SPAN_ARRAY(zeroes), &err) == 0);
    sessions.keys.count = 1;
}

static int open_token(struct span token, const char *access_key_id, struct session **ret,
                      struct kms_error *err)
{
    const struct credential_claim claim = { .scope = { .access_key_id = span_text(access_key_id) },
                                            .session_token = token };

    return session_token_open(&iam, &claim, ret, err);
}

static void demand_unrecognized(struct span token, const char *access_key_id)
{
    struct kms_error err = { 0 };
    struct session *session = NULL;

    demand(open_token(token, access_key_id, &session, &err) < 0 && session == NULL);
    demand(err.code == KMS_ERR_UNRECOGNIZED_CLIENT && err.message[0] != '\0');
}

/* --- a token ---------------------------------------------------------------------------------- */

static void try_token(struct span token)
{
    struct kms_error err = { 0 };
    struct session *session = NULL;

    if (open_token(token, ACCESS_KEY, &session, &err) < 0) {
        demand(session == NULL && err.code == KMS_ERR_UNRECOGNIZED_CLIENT);
        return;
    }
    session_unref(session);
    demand_unrecognized(token, ANOTHER);
}

/* --- claims ----------------------------------------------------------------------------------- */

/* As the service seals them. */
static void seal(struct span claims, struct buf *ret)
{
    struct kms_error err = { 0 };
    AUTO(buf) token = { 0 }, bound = { 0 };

    buf_u8(&token, VERSION);
    buf_append(&token, uuid_span(&sessions.keys.keys[0].id));
    buf_append(&bound, buf_span(&token));
    buf_append(&bound, uuid_span(&iam.config.installation));
    buf_append(&bound, span_text(ACCESS_KEY));
    demand(aead_seal(secret_span(&sessions.keys.keys[0].key), buf_span(&bound), claims, &token,
                     &err) == 0);
    base64_append(ret, buf_span(&token));
    demand(buf_check(ret, &err) == 0);
}

static void demand_same_text(const json_t *claims, const char *member, const char *got)
{
    const char *const claimed = json_string_value(json_object_get(claims, member));

    demand(claimed != NULL && strcmp(claimed, got) == 0);
}

static void demand_claimed(const json_t *claims, const struct session *session)
{
    const json_t *const tags = json_object_get(claims, "tags");
    const json_t *const policy = json_object_get(claims, "policy");

    demand_same_text(claims, "principal", session->unique_id);
    demand_same_text(claims, "account", session->account);
    demand_same_text(claims, "name", session->name);
    demand_same_text(claims, "source", session->source_identity);
    demand_same_text(claims, "by", session->issued_by);
    demand(strcmp(session->access_key_id, ACCESS_KEY) == 0);
    demand(session->secret.len == json_string_length(json_object_get(claims, "secret")));
    demand(session->expires_ms == json_integer_value(json_object_get(claims, "expires")));
    demand(session->tag_count == json_object_size(tags));
    demand(session->policy_count == (json_is_string(policy) ? 1U : 0U)); /* none is lost */
}

/* One letter of a token, another each time. */
static void demand_bound(struct buf *token, size_t which)
{
    uint8_t *const letter = &token->ptr[which % token->len];

    *letter = *letter == 'A' ? 'B' : 'A';
    demand_unrecognized(buf_span(token), ACCESS_KEY);
}

static void try_claims(struct span text, size_t which)
{
    json_t *const claims = json_loadb((const char *)text.ptr, text.len, 0, NULL);
    struct kms_error err = { 0 };
    struct session *session = NULL;
    AUTO(buf) token = { 0 };

    /* managed policies are looked up in a directory, which there is none of here */
    if (text.len > 0 && json_array_size(json_object_get(claims, "arns")) == 0) {
        seal(text, &token);
        if (open_token(buf_span(&token), ACCESS_KEY, &session, &err) == 0)
            demand_claimed(claims, session);
        else
            demand(session == NULL && (err.detail[0] != '\0' || token.len > SESSION_TOKEN_MAX));
        demand_unrecognized(buf_span(&token), ANOTHER);
        demand_bound(&token, which);
    }
    session_unref(session);
    json_decref(claims);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    set_up();
    if (size < 1)
        return 0;
    const struct span rest = span_of(data + 1, size - 1);

    if (data[0] % 2 == 0)
        try_token(rest);
    else
        try_claims(rest, size * 7 + rest.len);
    return 0;
}
