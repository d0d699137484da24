#include "hsmkms/api/grants.h"

#include <string.h>

#include "hsmkms/api/ops.h"
#include "hsmkms/base/encode.h"
#include "hsmkms/keys/catalog.h"

/* RetireGrant, RevokeGrant, and the tokens of grants wherever they are sent. */

struct retire_grant_request {
    struct request_head head;
    const char *token, *grant_id;
};

struct revoke_grant_request {
    struct request_head head;
    const char *grant_id;
};

/* clang-format off */
static const struct field retire_grant_fields[] = {
    KEY_ID_ROW(OPTIONAL),
    { "GrantId",    OPTIONAL, AT(retire_grant, STRING, grant_id), 1, 128, .log = LOGGED },
    { "GrantToken", OPTIONAL, AT(retire_grant, STRING, token), 1, GRANT_TOKEN_MAX, .log = UNLOGGED },
    DRY_RUN_ROW,
    { 0 },
};

static const struct field revoke_grant_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "GrantId",    REQUIRED, AT(revoke_grant, STRING, grant_id), 1, 128, .log = LOGGED },
    DRY_RUN_ROW,
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(retire_grant);
REQUEST_SHAPE(revoke_grant);

int op_check_grant_tokens(struct op_call *c, struct kms_error *err)
{
    const struct string_list *const tokens = &c->head->grant_tokens;
    char id[GRANT_ID_LEN + 1];
    struct uuid key_id;

    /* Grants count from the moment they exist, so a token that is authentic adds nothing. */
    for (size_t i = 0; i < tokens->count; i++)
        if (grant_token_open(c->api->config.iam, span_text(tokens->items[i]), &key_id, id, err) < 0)
            return -1;
    return 0;
}

int grants_check_id(const char *id, struct kms_error *err)
{
    uint8_t bytes[GRANT_ID_LEN / 2];

    if (!hex_parse(span_text(id), bytes, sizeof(bytes)))
        return kms_fail(err, KMS_ERR_INVALID_GRANT_ID, "Grant ID is invalid.");
    return 0;
}

/* --- RetireGrant ------------------------------------------------------------------------------ */

/* Principals of other accounts do not learn whether it is the key or the grant that is missing. */
static int no_such_grant(const struct op_call *c, const char *id, struct kms_error *err)
{
    if (op_is_stranger(c))
        return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                        "User: %s is not authorized to perform: kms:%s on this resource because "
                        "the resource does not exist in this Region, no resource-based policies "
                        "allow access, or a resource-based policy explicitly denies access",
                        c->call->principal.arn, c->op->name);
    return kms_fail(err, KMS_ERR_NOT_FOUND, "Grant ID %s not found", id);
}

static int find_grant(struct op_call *c, const struct uuid *key_id, const char *id,
                      struct kms_error *err)
{
    c->grant = grant_find(c->api->config.iam, key_id, id);
    return c->grant ? 0 : no_such_grant(c, id, err);
}

static int find_by_token(struct op_call *c, const char *token, struct kms_error *err)
{
    char id[GRANT_ID_LEN + 1];
    struct uuid key_id;

    if (grant_token_open(c->api->config.iam, span_text(token), &key_id, id, err) < 0)
        return -1;
    struct key *const key = catalog_find(c->keyring->catalog, &key_id);
    if (key == NULL || !key_visible(key)) {
        key_unref(key);
        return no_such_grant(c, id, err);
    }
    op_set_key(c, key);
    return find_grant(c, &key_id, id, err);
}

/* By token, or by key and id. Who may is asked of the grant, by the gate. */
int resolve_retired(struct op_call *c, struct kms_error *err)
{
    const struct retire_grant_request *const request = OP_REQUEST(retire_grant, c);
    const bool by_id = c->head->key_id || request->grant_id;

    if (request->token && by_id)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "Please specify either a grant token or a key ID and a grant ID.");
    if (request->token)
        return find_by_token(c, request->token, err);
    if (c->head->key_id == NULL || request->grant_id == NULL)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "A grant token, or a key ID and a grant ID, is required.");
    if (grants_check_id(request->grant_id, err) < 0 || resolve_id(c, err) < 0)
        return -1;
    return find_grant(c, &c->key->record.id, request->grant_id, err);
}

int op_retire_grant(struct op_call *c, struct kms_error *err)
{
    return grant_remove(c->api->config.iam, &c->grant->key_id, c->grant->id, err);
}

/* --- RevokeGrant ------------------------------------------------------------------------------ */

int check_revoke_grant(struct op_call *c, struct kms_error *err)
{
    const char *const id = OP_REQUEST(revoke_grant, c)->grant_id;

    if (grants_check_id(id, err) < 0)
        return -1;
    struct grant *const grant = grant_find(c->api->config.iam, &c->key->record.id, id);
    grant_unref(grant);
    return grant ? 0 : kms_fail(err, KMS_ERR_NOT_FOUND, "Grant ID %s not found", id);
}

int op_revoke_grant(struct op_call *c, struct kms_error *err)
{
    return grant_remove(c->api->config.iam, &c->key->record.id,
                        OP_REQUEST(revoke_grant, c)->grant_id, err);
}
