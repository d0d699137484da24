#include "hsmkms/api/grants.h"

#include <string.h>

#include "hsmkms/api/ops.h"
#include "hsmkms/api/reply.h"
#include "hsmkms/api/violations.h"
#include "hsmkms/iam/grant_match.h"
#include "hsmkms/iam/grant_principal.h"

/* CreateGrant, and what conditions can ask about grants. */

struct create_grant_request {
    struct request_head head;
    struct string_list operations;
    const char *grantee, *retiring, *name;
    const char *grantee_service, *retiring_service;
    struct request_constraints constraints;
    char parent[GRANT_ID_LEN + 1]; /* set by the check; "" for none */
};

static const char *const grant_operations[] = { "Decrypt",
                                                "Encrypt",
                                                "GenerateDataKey",
                                                "GenerateDataKeyWithoutPlaintext",
                                                "ReEncryptFrom",
                                                "ReEncryptTo",
                                                "Sign",
                                                "Verify",
                                                "GetPublicKey",
                                                "CreateGrant",
                                                "RetireGrant",
                                                "DescribeKey",
                                                "GenerateDataKeyPair",
                                                "GenerateDataKeyPairWithoutPlaintext",
                                                "GenerateMac",
                                                "VerifyMac",
                                                "DeriveSharedSecret",
                                                "Encapsulate",
                                                "Decapsulate",
                                                NULL };

/* clang-format off */
static const struct field create_grant_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "GranteePrincipal",  OPTIONAL, AT(create_grant, STRING, grantee), 1, 256, .log = LOGGED, .pattern = &pattern_principal, .slot = KMS_GRANTEE_PRINCIPAL },
    { "RetiringPrincipal", OPTIONAL, AT(create_grant, STRING, retiring), 1, 256, .log = LOGGED, .pattern = &pattern_principal, .slot = KMS_RETIRING_PRINCIPAL },
    { "Operations",        REQUIRED, AT(create_grant, STRINGS, operations), 1, 100, .log = LOGGED, .texts = grant_operations, .slot = KMS_GRANT_OPERATIONS },
    { "Constraints",       OPTIONAL, AT(create_grant, CONSTRAINTS, constraints), 0, GRANT_PAIRS_MAX, .log = LOGGED, .item_max = GRANT_VALUE_MAX },
    { "Name",              OPTIONAL, AT(create_grant, STRING, name), 1, 256, .log = LOGGED, .pattern = &pattern_grant_name },
    SERVICE_PRINCIPAL_ROW("GranteeServicePrincipal", AT(create_grant, STRING, grantee_service)),
    SERVICE_PRINCIPAL_ROW("RetiringServicePrincipal", AT(create_grant, STRING, retiring_service)),
    GRANT_TOKENS_ROW,
    DRY_RUN_ROW,
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(create_grant);

/* --- what a request asks for ------------------------------------------------------------------ */

int grants_absent(const char *path, struct kms_error *err)
{
    AUTO(violations) violations = { 0 };

    violations_add(&violations, (struct shown){ SHOWN_NULL, { 0 } }, path, "not be null");
    return violations_check(&violations, err);
}

int grants_no_service(const char *member, struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_UNSUPPORTED,
                    "The %s parameter is not supported by this service: no AWS service uses keys "
                    "here.",
                    member);
}

const char *grants_constraint_name(enum grant_constraint kind)
{
    static const char *const names[] = { [GRANT_UNCONSTRAINED] = NULL,
                                         [GRANT_SUBSET] = "EncryptionContextSubset",
                                         [GRANT_EQUALS] = "EncryptionContextEquals" };

    return names[kind];
}

void grants_constraint(const struct request_constraints *constraints, struct wanted_constraint *ret)
{
    const struct context *const pairs =
        constraints->has_equals ? &constraints->equals : &constraints->subset;

    ret->kind = constraints->has_equals   ? GRANT_EQUALS
                : constraints->has_subset ? GRANT_SUBSET
                                          : GRANT_UNCONSTRAINED;
    ret->count = 0;
    for (size_t i = 0; i < pairs->count && i < GRANT_PAIRS_MAX; i++)
        ret->pairs[ret->count++] = /* JSON texts end with a NUL */
            (struct condition_pair){ (const char *)pairs->pairs[i].name.ptr,
                                     (const char *)pairs->pairs[i].value.ptr };
}

static uint64_t operations_of(const struct create_grant_request *request)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < request->operations.count; i++)
        mask |= grant_operation_bit(request->operations.items[i]);
    return mask;
}

static void draft_of(const struct op_call *c, const struct wanted_constraint *constraint,
                     struct grant_draft *ret)
{
    const struct create_grant_request *const request = OP_REQUEST(create_grant, c);

    *ret = (struct grant_draft){ .key_id = c->key->record.id,
                                 .grantee = request->grantee,
                                 .retiring = request->retiring,
                                 .issuing_account = c->call->principal.account,
                                 .operations = operations_of(request),
                                 .constraint = constraint->kind,
                                 .pairs = constraint->pairs,
                                 .pair_count = constraint->count,
                                 .name = request->name,
                                 .parent = request->parent };
}

/* --- CreateGrant: checks ---------------------------------------------------------------------- */

/* Before anything is decided: which of two kinds of grant this is. */
int resolve_granted_key(struct op_call *c, struct kms_error *err)
{
    const struct create_grant_request *const request = OP_REQUEST(create_grant, c);

    if (request->grantee_service)
        return grants_no_service("GranteeServicePrincipal", err);
    if (request->retiring_service)
        return grants_no_service("RetiringServicePrincipal", err);
    if (request->constraints.has_source_arn)
        return grants_no_service("SourceArn", err);
    if (request->grantee == NULL)
        return grants_absent("granteePrincipal", err);
    return resolve_id(c, err);
}

enum kind_of_key { ANY_KEY, SYMMETRIC_KEY, ASYMMETRIC_KEY };

/*
 * What each operation needs; those without a row fit every key.
 * Source: AWS KMS Developer Guide, Grants in AWS KMS, Grant operations.
 */
static const struct {
    const char *operation, *usage; /* NULL: any */
    enum kind_of_key kind;
} needs[] = {
    { "Encrypt", "ENCRYPT_DECRYPT", ANY_KEY },
    { "Decrypt", "ENCRYPT_DECRYPT", ANY_KEY },
    { "ReEncryptFrom", "ENCRYPT_DECRYPT", ANY_KEY },
    { "ReEncryptTo", "ENCRYPT_DECRYPT", ANY_KEY },
    { "GenerateDataKey", "ENCRYPT_DECRYPT", SYMMETRIC_KEY },
    { "GenerateDataKeyWithoutPlaintext", "ENCRYPT_DECRYPT", SYMMETRIC_KEY },
    { "GenerateDataKeyPair", "ENCRYPT_DECRYPT", SYMMETRIC_KEY },
    { "GenerateDataKeyPairWithoutPlaintext", "ENCRYPT_DECRYPT", SYMMETRIC_KEY },
    { "Sign", "SIGN_VERIFY", ANY_KEY },
    { "Verify", "SIGN_VERIFY", ANY_KEY },
    { "GenerateMac", "GENERATE_VERIFY_MAC", ANY_KEY },
    { "VerifyMac", "GENERATE_VERIFY_MAC", ANY_KEY },
    { "DeriveSharedSecret", "KEY_AGREEMENT", ANY_KEY },
    { "Encapsulate", "ENCAPSULATE_DECAPSULATE", ANY_KEY },
    { "Decapsulate", "ENCAPSULATE_DECAPSULATE", ANY_KEY },
    { "GetPublicKey", NULL, ASYMMETRIC_KEY },
};

static bool is_symmetric(const struct key *key)
{
    return strcmp(key->record.spec, "SYMMETRIC_DEFAULT") == 0;
}

static bool is_of_kind(const struct key *key, enum kind_of_key kind)
{
    const bool mac = strcmp(key->record.usage, "GENERATE_VERIFY_MAC") == 0;

    return kind == ANY_KEY ||
           (kind == SYMMETRIC_KEY ? is_symmetric(key) : !is_symmetric(key) && !mac);
}

static int check_operations(const struct op_call *c, struct kms_error *err)
{
    const uint64_t wanted = operations_of(OP_REQUEST(create_grant, c));
    const struct key *const key = c->key;

    for (size_t i = 0; i < ARRAY_LEN(needs); i++) {
        if (!(wanted & grant_operation_bit(needs[i].operation)))
            continue;
        if (!is_of_kind(key, needs[i].kind) ||
            (needs[i].usage && strcmp(needs[i].usage, key->record.usage) != 0))
            return kms_fail(err, KMS_ERR_VALIDATION,
                            "Operation %s cannot be granted for %s: its key usage is %s and its "
                            "key spec is %s.",
                            needs[i].operation, c->key_arn.text, key->record.usage,
                            key->record.spec);
    }
    return 0;
}

static int check_constraints(const struct op_call *c, const struct wanted_constraint *wanted,
                             struct kms_error *err)
{
    const struct request_constraints *const given = &OP_REQUEST(create_grant, c)->constraints;

    if (given->has_subset && given->has_equals)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "Please specify either EncryptionContextSubset or "
                        "EncryptionContextEquals.");
    if (wanted->kind != GRANT_UNCONSTRAINED && !is_symmetric(c->key))
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "Encryption context constraints are valid for symmetric encryption keys "
                        "only.");
    for (size_t i = 1; i < wanted->count; i++)
        for (size_t j = 0; j < i; j++)
            if (grant_names_equal(wanted->pairs[i].name, wanted->pairs[j].name))
                return kms_fail(err, KMS_ERR_VALIDATION,
                                "The names in an encryption context constraint must differ in "
                                "more than case.");
    return 0;
}

static int check_principals(const struct op_call *c, struct kms_error *err)
{
    const struct create_grant_request *const request = OP_REQUEST(create_grant, c);
    struct directory *const directory = c->api->config.iam->directory;
    struct grant_principal unused;

    if (grant_principal_find(directory, request->grantee, &unused, err) < 0)
        return -1;
    return request->retiring ? grant_principal_find(directory, request->retiring, &unused, err) : 0;
}

/*
 * Whom a grant and no policy lets create grants can hand on what that grant gives, not more.
 * Source: AWS KMS API Reference, CreateGrant; AWS KMS Developer Guide, Granting CreateGrant
 * permission.
 */
static int check_parent(struct op_call *c, const struct wanted_constraint *wanted,
                        struct kms_error *err)
{
    struct create_grant_request *const request = OP_REQUEST(create_grant, c);
    struct grant_draft draft;

    if (c->authorized.decision.layer != LAYER_GRANT)
        return 0;
    draft_of(c, wanted, &draft);
    struct grant *const parent = grant_find_parent(c->api->config.iam, &c->call->principal, &draft);
    if (parent == NULL)
        return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                        "User: %s is not authorized to perform: kms:CreateGrant on resource: %s "
                        "because no resource-based policy allows the kms:CreateGrant action",
                        c->call->principal.arn, c->key_arn.text);
    memcpy(request->parent, parent->id, sizeof(request->parent));
    grant_unref(parent);
    return 0;
}

int check_create_grant(struct op_call *c, struct kms_error *err)
{
    struct wanted_constraint wanted;

    grants_constraint(&OP_REQUEST(create_grant, c)->constraints, &wanted);
    if (check_operations(c, err) < 0 || check_constraints(c, &wanted, err) < 0 ||
        check_principals(c, err) < 0)
        return -1;
    return check_parent(c, &wanted, err);
}

int op_create_grant(struct op_call *c, struct kms_error *err)
{
    struct iam *const iam = c->api->config.iam;
    struct wanted_constraint wanted;
    struct grant_draft draft;
    AUTO(buf) token = { 0 };

    grants_constraint(&OP_REQUEST(create_grant, c)->constraints, &wanted);
    draft_of(c, &wanted, &draft);
    if (grant_create(iam, &draft, &c->grant, err) < 0 ||
        grant_token_make(iam, c->grant, &token, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:s%, s:s}", "GrantToken", (const char *)token.ptr, token.len,
                               "GrantId", c->grant->id),
                     err);
}

/* --- conditions ------------------------------------------------------------------------------- */

static void add_pairs(enum grant_constraint kind, const struct condition_pair *pairs, size_t count,
                      struct facts *ret)
{
    for (size_t i = 0; i < count; i++) {
        ret->encryption[i] = pairs[i];
        ret->encryption_names[i] = pairs[i].name;
    }
    context_set(&ret->context, KMS_GRANT_CONSTRAINT_TYPE, grants_constraint_name(kind));
    if (count == 0)
        return;
    context_set_family(&ret->context, FAMILY_ENCRYPTION_CONTEXT, ret->encryption, count);
    context_set_list(&ret->context, KMS_ENCRYPTION_CONTEXT_KEYS, ret->encryption_names, count);
}

void grants_add_facts(const struct op_call *c, struct facts *ret)
{
    static const char *const for_services[] = { "CreateGrant", "ListGrants", "RevokeGrant" };
    struct wanted_constraint wanted;

    for (size_t i = 0; i < ARRAY_LEN(for_services); i++)
        if (strcmp(c->op->name, for_services[i]) == 0)
            context_set_bool(&ret->context, KMS_GRANT_IS_FOR_AWS_RESOURCE, false);
    if (c->grant)
        add_pairs(c->grant->constraint, c->grant->pairs, c->grant->pair_count, ret);
    if (c->op->request != &create_grant_shape)
        return;
    grants_constraint(&OP_REQUEST(create_grant, c)->constraints, &wanted);
    add_pairs(wanted.kind, wanted.pairs, wanted.count, ret);
}
