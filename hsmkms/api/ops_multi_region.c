#include "hsmkms/api/ops.h"

#include <string.h>

#include "hsmkms/api/policy.h"
#include "hsmkms/api/reply.h"
#include "hsmkms/api/tags.h"
#include "hsmkms/keys/multi_region.h"
#include "hsmkms/keys/regions.h"

/* ReplicateKey, UpdatePrimaryRegion: asked in the region of the primary. */

struct replicate_request {
    struct request_head head;
    const char *region, *policy, *description;
    bool bypass;
    struct tag_list tags;
};

struct move_primary_request {
    struct request_head head;
    const char *region;
};

/* clang-format off */
static const struct field replicate_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "ReplicaRegion", REQUIRED, AT(replicate, STRING, region), 1, 32, .log = LOGGED, .pattern = &pattern_region, .slot = KMS_REPLICA_REGION },
    { "Policy",        OPTIONAL, AT(replicate, STRING, policy), 1, 131072, .log = LOGGED, .pattern = &pattern_policy },
    { "BypassPolicyLockoutSafetyCheck", OPTIONAL, AT(replicate, BOOL, bypass), 0, 1, .log = FILLED, .slot = KMS_BYPASS_LOCKOUT_CHECK },
    { "Description",   OPTIONAL, AT(replicate, STRING, description), 0, 8192, .log = FILLED },
    { "Tags",          OPTIONAL, AT(replicate, TAGS, tags), 0, 1000, .log = LOGGED },
    { 0 },
};

static const struct field move_primary_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "PrimaryRegion", REQUIRED, AT(move_primary, STRING, region), 1, 32, .log = LOGGED, .pattern = &pattern_region, .slot = KMS_PRIMARY_REGION },
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(replicate);
REQUEST_SHAPE(move_primary);

/* --- ReplicateKey ----------------------------------------------------------------------------- */

/* In the replica's region it is a key like any other that is to be made. */
static int may_create(const struct op_call *c, const struct replicate_request *request,
                      struct kms_error *err)
{
    const struct op_question creating = {
        .action = "CreateKey", .arn = "*", .region = request->region, .replica_of = c->key
    };
    const struct op_question tagging = {
        .action = "TagResource", .arn = "*", .region = request->region, .replica_of = c->key
    };

    if (op_authorize(c, &creating, NULL, err) < 0)
        return -1;
    return request->tags.count ? op_authorize(c, &tagging, NULL, err) : 0;
}

static int check_replica_policy(struct op_call *c, struct replicate_request *request,
                                struct kms_error *err)
{
    struct arn_text arn;

    (void)snprintf(arn.text, sizeof(arn.text), "arn:aws:kms:%s:%s:key/%s", request->region,
                   c->keyring->account, key_name(c->key).text);
    const struct op_question question = { .arn = arn.text,
                                          .region = request->region,
                                          .replica_of = c->key };
    return policy_check_for(c, &question, request->policy, request->bypass, &request->head.pins,
                            err);
}

int check_replicate(struct op_call *c, struct kms_error *err)
{
    struct replicate_request *const request = OP_REQUEST(replicate, c);

    if (may_create(c, request, err) < 0 ||
        multi_region_may_replicate(c->keyring, c->key, request->region, err) < 0 ||
        tags_check(&request->tags, err) < 0)
        return -1;
    return check_replica_policy(c, request, err);
}

static json_t *tag_entries(const struct key *key)
{
    json_t *const entries = json_array();

    for (size_t i = 0; i < key->tag_count; i++)
        (void)json_array_append_new(entries, json_pack("{s:s, s:s}", "TagKey", key->tags[i].tag_key,
                                                       "TagValue", key->tags[i].tag_value));
    return entries;
}

static int answer_replica(struct op_call *c, const struct key *replica, struct kms_error *err)
{
    json_t *metadata = NULL;
    AUTO(buf) policy = { 0 };

    if (policy_text(c->api, replica, &policy, err) < 0 ||
        reply_key_metadata(c->keyring, replica, &metadata, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:o, s:s%, s:o}", "ReplicaKeyMetadata", metadata, "ReplicaPolicy",
                               (const char *)policy.ptr, policy.len, "ReplicaTags",
                               tag_entries(replica)),
                     err);
}

int op_replicate(struct op_call *c, struct kms_error *err)
{
    const struct replicate_request *const request = OP_REQUEST(replicate, c);
    const struct replica_draft draft = {
        .region = request->region,
        .description = request->description ? request->description : "",
        .policy = request->policy,
        .policy_pins = (const char *)request->head.pins.ptr,
        .tags = request->tags.items,
        .tag_count = request->tags.count,
    };

    if (multi_region_replicate(c->keyring, &c->key->record.id, &draft, &c->other, err) < 0)
        return -1;
    c->other_arn = keyring_arn_of(c->keyring, c->other);
    if (policy_publish(c->api, &c->other->record.id, err) < 0)
        return -1;
    return answer_replica(c, c->other, err);
}

/* --- UpdatePrimaryRegion ---------------------------------------------------------------------- */

/* The replica that is to lead. Where there is none the check says so, behind iam. */
int resolve_primary_and_heir(struct op_call *c, struct kms_error *err)
{
    if (resolve_id(c, err) < 0)
        return -1;
    const struct keyring *const to = keyring_in(c->keyring, OP_REQUEST(move_primary, c)->region);
    if (to == NULL || to == c->keyring || !key_is_multi_region(c->key))
        return 0;
    c->other = multi_region_member(to, &c->key->record.family);
    if (c->other)
        c->other_arn = keyring_arn_of(c->keyring, c->other);
    return 0;
}

/* Allowed by the policies of both, each in its region. */
int may_move_primary(struct op_call *c, struct kms_error *err)
{
    const struct op_question about_key = { .action = c->op->name,
                                           .arn = c->key_arn.text,
                                           .key = c->key };
    const struct op_question about_heir = { .action = c->op->name,
                                            .arn = c->other_arn.text,
                                            .key = c->other,
                                            .region = OP_REQUEST(move_primary, c)->region };

    if (op_authorize(c, &about_key, &c->authorized, err) < 0)
        return -1;
    return c->other ? op_authorize(c, &about_heir, NULL, err) : 0;
}

int check_move_primary(struct op_call *c, struct kms_error *err)
{
    return multi_region_may_move(c->keyring, c->key, OP_REQUEST(move_primary, c)->region, err);
}

int op_move_primary(struct op_call *c, struct kms_error *err)
{
    return multi_region_move_primary(c->keyring, &c->key->record.id,
                                     OP_REQUEST(move_primary, c)->region,
                                     c->other ? &c->other->record.id : NULL, err);
}
