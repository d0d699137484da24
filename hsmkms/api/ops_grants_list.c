#include "hsmkms/api/grants.h"

#include <string.h>

#include "hsmkms/api/ops.h"
#include "hsmkms/api/paging.h"
#include "hsmkms/api/reply.h"
#include "hsmkms/iam/arn.h"

/* ListGrants, ListRetirableGrants. */

struct list_grants_request {
    struct request_head head;
    int64_t limit;
    const char *marker, *grant_id, *grantee, *grantee_service;
};

struct list_retirable_request {
    struct request_head head;
    int64_t limit;
    const char *marker, *retiring, *retiring_service;
    char principal[IDENTITY_ARN_MAX]; /* set by the resolver */
};

/* clang-format off */
#define PRINCIPAL_ROW(name, place)       { name, OPTIONAL, place, 1, 256, .log = LOGGED, .pattern = &pattern_principal }

static const struct field list_grants_fields[] = {
    KEY_ID_ROW(REQUIRED),
    LIMIT_ROW(list_grants),
    MARKER_ROW(list_grants),
    { "GrantId",           OPTIONAL, AT(list_grants, STRING, grant_id), 1, 128, .log = LOGGED },
    PRINCIPAL_ROW("GranteePrincipal", AT(list_grants, STRING, grantee)),
    SERVICE_PRINCIPAL_ROW("GranteeServicePrincipal", AT(list_grants, STRING, grantee_service)),
    { 0 },
};

static const struct field list_retirable_fields[] = {
    LIMIT_ROW(list_retirable),
    MARKER_ROW(list_retirable),
    PRINCIPAL_ROW("RetiringPrincipal", AT(list_retirable, STRING, retiring)),
    SERVICE_PRINCIPAL_ROW("RetiringServicePrincipal", AT(list_retirable, STRING, retiring_service)),
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(list_grants);
REQUEST_SHAPE(list_retirable);

/* --- entries of lists ------------------------------------------------------------------------- */

static json_t *operations_entry(uint64_t operations)
{
    json_t *const list = json_array();

    for (size_t action = 0; action < action_count; action++)
        if (operations >> action & 1)
            (void)json_array_append_new(list, json_string(action_short_name((int)action)));
    return list;
}

static json_t *constraints_entry(const struct grant *grant)
{
    json_t *const pairs = json_object();

    for (size_t i = 0; i < grant->pair_count; i++)
        (void)json_object_set_new(pairs, grant->pairs[i].name, json_string(grant->pairs[i].value));
    return json_pack("{s:o}", grants_constraint_name(grant->constraint), pairs);
}

static json_t *grant_entry(const struct op_call *c, const struct grant *grant)
{
    struct iam *const iam = c->api->config.iam;
    json_t *const entry =
        json_pack("{s:s, s:s, s:s, s:o, s:s, s:o, s:o}", "KeyId",
                  keyring_key_arn(c->keyring, &grant->key_id).text, "GrantId", grant->id, "Name",
                  grant->name, "CreationDate", reply_time(grant->created_ms), "GranteePrincipal",
                  grant_shown_principal(iam, grant->grantee, grant->grantee_id), "IssuingAccount",
                  json_sprintf("arn:aws:iam::%s:root", grant->issuing_account), "Operations",
                  operations_entry(grant->operations));

    if (entry && grant->retiring[0])
        (void)json_object_set_new(
            entry, "RetiringPrincipal",
            json_string(grant_shown_principal(iam, grant->retiring, grant->retiring_id)));
    if (entry && grant->constraint != GRANT_UNCONSTRAINED)
        (void)json_object_set_new(entry, "Constraints", constraints_entry(grant));
    return entry;
}

/* --- lists ------------------------------------------------------------------------------------ */

#define BATCH_MOST 256

static const struct page_size grants_page = { .preset = 50, .most = 100 };

/* Where a list goes on: behind this grant. */
struct position {
    struct uuid key_id;
    char id[GRANT_ID_LEN + 1]; /* "": before all */
};

/* A page being gathered: entries, and the place of the last one. */
struct gathering {
    const struct op_call *c;
    size_t limit;
    json_t *items;
    struct position at, last; /* looked at; shown */
    bool more;
};

/* Grants from a place on, as many as fit; which list is the function's own matter. */
typedef size_t next_fn(const struct op_call *c, const struct position *at, struct grant **ret,
                       size_t most);
typedef bool wanted_fn(const struct op_call *c, const struct grant *grant);

static struct position position_of(const struct grant *grant)
{
    struct position position = { .key_id = grant->key_id };

    memcpy(position.id, grant->id, sizeof(position.id));
    return position;
}

/* Takes one grant into the page; the first that does not fit says that there are more. */
static void gather_one(struct gathering *page, const struct grant *grant)
{
    if (json_array_size(page->items) == page->limit) {
        page->more = true;
        return;
    }
    (void)json_array_append_new(page->items, grant_entry(page->c, grant));
    page->last = position_of(grant);
}

static void gather(struct gathering *page, next_fn *next, wanted_fn *wanted)
{
    struct grant *batch[BATCH_MOST];
    size_t count = BATCH_MOST;

    while (count == BATCH_MOST && !page->more) {
        count = next(page->c, &page->at, batch, BATCH_MOST);
        for (size_t i = 0; i < count; i++) {
            if (!page->more && wanted(page->c, batch[i]))
                gather_one(page, batch[i]);
            page->at = position_of(batch[i]);
        }
        for (size_t i = 0; i < count; i++)
            grant_unref(batch[i]);
    }
}

/* The sort key in a marker: 16 bytes of the key id, then the grant id. */
static int read_position(const struct op_call *c, const char *marker, struct position *ret,
                         struct kms_error *err)
{
    AUTO(buf) after = { 0 };
    struct span rest, key_id = { 0 };

    if (page_after(c, marker, &after, err) < 0)
        return -1;
    rest = buf_span(&after);
    if (!span_take(&rest, sizeof(ret->key_id), &key_id) || rest.len != GRANT_ID_LEN)
        return 0; /* no marker: one that is authentic has this form */
    memcpy(ret->key_id.bytes, key_id.ptr, key_id.len);
    memcpy(ret->id, rest.ptr, rest.len);
    ret->id[rest.len] = '\0';
    return 0;
}

static int answer_page(struct op_call *c, struct gathering *page, struct kms_error *err)
{
    AUTO(buf) last = { 0 };

    buf_append(&last, uuid_span(&page->last.key_id));
    buf_text(&last, page->last.id);
    if (buf_check(&last, err) < 0) {
        json_decref(page->items);
        return -1;
    }
    return page_answer(c, "Grants", page->items, page->more, buf_span(&last), err);
}

static int list(struct op_call *c, int64_t limit, const char *marker, next_fn *next,
                wanted_fn *wanted, struct kms_error *err)
{
    struct gathering page = { .c = c, .limit = page_limit(grants_page, limit) };

    if (read_position(c, marker, &page.at, err) < 0)
        return -1;
    page.items = json_array();
    gather(&page, next, wanted);
    return answer_page(c, &page, err);
}

/* --- ListGrants ------------------------------------------------------------------------------- */

int check_list_grants(struct op_call *c, struct kms_error *err)
{
    const struct list_grants_request *const request = OP_REQUEST(list_grants, c);
    char unused[IDENTITY_ARN_MAX];

    if (request->grantee_service)
        return grants_no_service("GranteeServicePrincipal", err);
    if (request->grant_id && grants_check_id(request->grant_id, err) < 0)
        return -1;
    return request->grantee ? grant_principal_text(request->grantee, unused, err) : 0;
}

static size_t next_of_key(const struct op_call *c, const struct position *at, struct grant **ret,
                          size_t most)
{
    return grants_of_key(c->api->config.iam, &c->key->record.id, at->id, ret, most);
}

/* A principal is asked for as it is shown. */
static bool is_listed(const struct op_call *c, const struct grant *grant)
{
    const struct list_grants_request *const request = OP_REQUEST(list_grants, c);
    char grantee[IDENTITY_ARN_MAX];
    struct kms_error unused = { 0 };

    if (request->grant_id && strcmp(request->grant_id, grant->id) != 0)
        return false;
    if (request->grantee == NULL)
        return true;
    return grant_principal_text(request->grantee, grantee, &unused) == 0 &&
           (strcmp(grantee, grant->grantee) == 0 || strcmp(grantee, grant->grantee_id) == 0) &&
           strcmp(grantee, grant_shown_principal(c->api->config.iam, grant->grantee,
                                                 grant->grantee_id)) == 0;
}

int op_list_grants(struct op_call *c, struct kms_error *err)
{
    const struct list_grants_request *const request = OP_REQUEST(list_grants, c);

    return list(c, request->limit, request->marker, next_of_key, is_listed, err);
}

/* --- ListRetirableGrants ---------------------------------------------------------------------- */

/* The principal is the resource that policies are asked about; it belongs to the caller's account.
 */
int resolve_retiring(struct op_call *c, struct kms_error *err)
{
    struct list_retirable_request *const request = OP_REQUEST(list_retirable, c);
    struct arn arn;

    if (request->retiring_service)
        return grants_no_service("RetiringServicePrincipal", err);
    if (request->retiring == NULL)
        return grants_absent("retiringPrincipal", err);
    if (grant_principal_text(request->retiring, request->principal, err) < 0)
        return -1;
    if (!arn_split(span_text(request->principal), &arn))
        return kms_fail(err, KMS_ERR_INVALID_ARN, "ARN does not refer to a valid principal");
    c->resource = request->principal;
    if (span_equal(arn.fields[ARN_ACCOUNT], span_text(c->call->principal.account)))
        return 0;
    return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                    "User: %s is not authorized to perform: kms:ListRetirableGrants on resource: "
                    "%s because no identity-based policy allows the kms:ListRetirableGrants action",
                    c->call->principal.arn, request->principal);
}

static size_t next_retirable(const struct op_call *c, const struct position *at, struct grant **ret,
                             size_t most)
{
    return grants_of_retiring(c->api->config.iam, OP_REQUEST(list_retirable, c)->principal,
                              &at->key_id, at->id, ret, most);
}

/* Those of this region, and not those of a namesake that is gone. */
static bool is_retirable(const struct op_call *c, const struct grant *grant)
{
    struct key *const key = catalog_find(c->keyring->catalog, &grant->key_id);

    key_unref(key);
    return key && grant_shown_principal(c->api->config.iam, grant->retiring, grant->retiring_id) ==
                      grant->retiring;
}

int op_list_retirable(struct op_call *c, struct kms_error *err)
{
    const struct list_retirable_request *const request = OP_REQUEST(list_retirable, c);

    return list(c, request->limit, request->marker, next_retirable, is_retirable, err);
}
