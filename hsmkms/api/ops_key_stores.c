#include "hsmkms/api/ops.h"

#include <string.h>

#include "hsmkms/api/paging.h"
#include "hsmkms/api/reply.h"
#include "hsmkms/crypto/certificate.h"
#include "hsmkms/keys/key_store.h"

/*
 * CreateCustomKeyStore, DescribeCustomKeyStores, UpdateCustomKeyStore, ConnectCustomKeyStore,
 * DisconnectCustomKeyStore, DeleteCustomKeyStore.
 *
 * A cluster is a token that the operator has configured. Its PIN lies in a file of the operator's:
 * the password of a request is neither used nor kept.
 */

/* What belongs to external key stores, of which there are none. */
struct external_members {
    const char *endpoint, *path, *service, *owner, *connectivity;
    bool credential;
};

struct create_store_request {
    struct request_head head;
    const char *name, *cluster, *trust_anchor, *password, *type;
    struct external_members external;
};

struct update_store_request {
    struct request_head head;
    const char *id, *name, *cluster, *password;
    struct external_members external;
};

struct describe_stores_request {
    struct request_head head;
    const char *id, *name, *marker;
    int64_t limit;
};

struct store_only_request {
    struct request_head head;
    const char *id;
};

static const char *const types[] = { "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE", NULL };
static const char *const connectivities[] = { "PUBLIC_ENDPOINT", "VPC_ENDPOINT_SERVICE", NULL };

/* clang-format off */
#define STORE_ID_ROW(op, need) { "CustomKeyStoreId", need, AT(op, STRING, id), 1, 64, .log = LOGGED }
#define CLUSTER_ROW(op)        { "CloudHsmClusterId", OPTIONAL, AT(op, STRING, cluster), 19, 24, .log = LOGGED }
#define PASSWORD_ROW(op)       { "KeyStorePassword", OPTIONAL, AT(op, STRING, password), 7, 32, .log = UNLOGGED, .sensitive = true }
#define EXTERNAL_ROWS(op) \
    { "XksProxyUriEndpoint",            OPTIONAL, AT(op, STRING, external.endpoint), 10, 128, .log = LOGGED }, \
    { "XksProxyUriPath",                OPTIONAL, AT(op, STRING, external.path), 10, 128, .log = LOGGED }, \
    { "XksProxyVpcEndpointServiceName", OPTIONAL, AT(op, STRING, external.service), 20, 64, .log = LOGGED }, \
    { "XksProxyVpcEndpointServiceOwner", OPTIONAL, AT(op, STRING, external.owner), 12, 12, .log = LOGGED }, \
    { "XksProxyAuthenticationCredential", OPTIONAL, AT(op, PRESENCE, external.credential), 0, 1, .log = UNLOGGED }, \
    { "XksProxyConnectivity",           OPTIONAL, AT(op, ENUM, external.connectivity), 0, 0, .log = LOGGED, .texts = connectivities }

static const struct field create_store_fields[] = {
    { "CustomKeyStoreName",     REQUIRED, AT(create_store, STRING, name), 1, 256, .log = LOGGED },
    CLUSTER_ROW(create_store),
    { "TrustAnchorCertificate", OPTIONAL, AT(create_store, STRING, trust_anchor), 1, 5000, .log = UNLOGGED },
    PASSWORD_ROW(create_store),
    { "CustomKeyStoreType",     PRESET,   AT(create_store, ENUM, type), 0, 0, .log = FILLED, .texts = types },
    EXTERNAL_ROWS(create_store),
    { 0 },
};

static const struct field update_store_fields[] = {
    STORE_ID_ROW(update_store, REQUIRED),
    { "NewCustomKeyStoreName",  OPTIONAL, AT(update_store, STRING, name), 1, 256, .log = LOGGED },
    CLUSTER_ROW(update_store),
    PASSWORD_ROW(update_store),
    EXTERNAL_ROWS(update_store),
    { 0 },
};

static const struct field describe_stores_fields[] = {
    STORE_ID_ROW(describe_stores, OPTIONAL),
    { "CustomKeyStoreName",     OPTIONAL, AT(describe_stores, STRING, name), 1, 256, .log = LOGGED },
    LIMIT_ROW(describe_stores),
    MARKER_ROW(describe_stores),
    { 0 },
};

static const struct field store_only_fields[] = {
    STORE_ID_ROW(store_only, REQUIRED),
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(create_store);
REQUEST_SHAPE(update_store);
REQUEST_SHAPE(describe_stores);
REQUEST_SHAPE(store_only);

/* --- checks ----------------------------------------------------------------------------------- */

/* To another account the stores of this one do not exist. */
static int check_account(const struct op_call *c, const char *id, struct kms_error *err)
{
    if (!op_is_stranger(c))
        return 0;
    return kms_fail(err, KMS_ERR_STORE_NOT_FOUND, "Custom key store %.64s was not found.", id);
}

static int check_external(const struct external_members *external, struct kms_error *err)
{
    if (external->endpoint || external->path || external->service || external->owner ||
        external->connectivity || external->credential)
        return kms_fail(err, KMS_ERR_UNSUPPORTED,
                        "External key stores are not supported by this service.");
    return 0;
}

/* The field table has checked its length. */
static int check_cluster(const char *cluster, struct kms_error *err)
{
    if (cluster == NULL || key_store_is_cluster_id(cluster))
        return 0;
    return kms_fail(err, KMS_ERR_VALIDATION,
                    "1 validation error detected: Value '%s' at 'cloudHsmClusterId' failed to "
                    "satisfy constraint: Member must satisfy regular expression pattern: "
                    "cluster-[2-7a-zA-Z]{11,16}",
                    cluster);
}

int check_create_store(struct op_call *c, struct kms_error *err)
{
    const struct create_store_request *const request = OP_REQUEST(create_store, c);

    if (op_is_stranger(c))
        return kms_fail(err, KMS_ERR_UNSUPPORTED, "Account %s has no key stores in this service.",
                        c->call->principal.account);
    if (strcmp(request->type, types[0]) != 0)
        return kms_fail(err, KMS_ERR_UNSUPPORTED,
                        "CustomKeyStoreType %s is not supported by this service.", request->type);
    if (check_external(&request->external, err) < 0 || check_cluster(request->cluster, err) < 0)
        return -1;
    if (!request->cluster || !request->trust_anchor || !request->password)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "CloudHsmClusterId, TrustAnchorCertificate and KeyStorePassword are "
                        "required for a custom key store of type AWS_CLOUDHSM.");
    return certificate_is_pem(span_text(request->trust_anchor))
               ? 0
               : kms_fail(err, KMS_ERR_TRUST_ANCHOR,
                          "TrustAnchorCertificate is not a certificate in PEM.");
}

int check_update_store(struct op_call *c, struct kms_error *err)
{
    const struct update_store_request *const request = OP_REQUEST(update_store, c);

    if (check_account(c, request->id, err) < 0 || check_external(&request->external, err) < 0 ||
        check_cluster(request->cluster, err) < 0)
        return -1;
    if (!request->name && !request->cluster && !request->password)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "Nothing of the custom key store is to be updated.");
    return 0;
}

int check_store(struct op_call *c, struct kms_error *err)
{
    return check_account(c, OP_REQUEST(store_only, c)->id, err);
}

int check_describe_stores(struct op_call *c, struct kms_error *err)
{
    const struct describe_stores_request *const request = OP_REQUEST(describe_stores, c);
    const char *const wanted = request->id ? request->id : request->name;

    if (request->id && request->name)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "CustomKeyStoreId and CustomKeyStoreName cannot be given both.");
    return wanted ? check_account(c, wanted, err) : 0;
}

/* --- describe --------------------------------------------------------------------------------- */

static json_t *entry_of(const struct key_store_view *store)
{
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s*, s:o, s:s}", "CustomKeyStoreId", store->record.id,
        "CustomKeyStoreName", store->record.name, "CloudHsmClusterId", store->record.cluster,
        "TrustAnchorCertificate", store->record.trust_anchor, "ConnectionState",
        key_store_state_text(store->state), "ConnectionErrorCode", store->error, "CreationDate",
        reply_time(store->record.created_ms), "CustomKeyStoreType", types[0]);
}

static int describe_one(struct op_call *c, const struct describe_stores_request *request,
                        struct kms_error *err)
{
    AUTO(key_store_view) store = { 0 };

    if ((request->id ? key_store_find(c->keyring, request->id, &store, err)
                     : key_store_find_named(c->keyring, request->name, &store, err)) < 0)
        return -1;
    return page_answer(c, "CustomKeyStores", json_pack("[o]", entry_of(&store)), false,
                       (struct span){ 0 }, err);
}

/* Stores behind the one that a page ended with. */
static int describe_page(struct op_call *c, size_t limit, struct span after, struct kms_error *err)
{
    json_auto_t *items = json_array();
    const char *last = "";
    bool more = false;
    AUTO(key_store_list) list = { 0 };

    if (!op_is_stranger(c) && key_store_list(c->keyring, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.count && !more; i++) {
        const char *const id = list.items[i].record.id;
        if (after.len && strncmp(id, (const char *)after.ptr, after.len) <= 0)
            continue;
        more = json_array_size(items) == limit;
        if (more)
            continue;
        if (json_array_append_new(items, entry_of(&list.items[i])) < 0)
            return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for an answer");
        last = id;
    }
    return page_answer(c, "CustomKeyStores", json_incref(items), more, span_text(last), err);
}

int op_describe_stores(struct op_call *c, struct kms_error *err)
{
    static const struct page_size size = { .preset = 1000, .most = 1000 };
    const struct describe_stores_request *const request = OP_REQUEST(describe_stores, c);
    AUTO(buf) after = { 0 };

    if (request->id || request->name)
        return describe_one(c, request, err);
    if (page_after(c, request->marker, &after, err) < 0)
        return -1;
    return describe_page(c, page_limit(size, request->limit), buf_span(&after), err);
}

/* --- changes ---------------------------------------------------------------------------------- */

static int answer_nothing(struct op_call *c, struct kms_error *err)
{
    return op_answer(c, json_object(), err);
}

int op_create_store(struct op_call *c, struct kms_error *err)
{
    const struct create_store_request *const request = OP_REQUEST(create_store, c);
    const struct key_store_draft draft = { .name = request->name,
                                           .cluster = request->cluster,
                                           .trust_anchor = request->trust_anchor };
    char id[24];

    if (key_store_create(c->keyring, &draft, id, err) < 0)
        return -1;
    return op_answer(c, json_pack("{s:s}", "CustomKeyStoreId", id), err);
}

int op_update_store(struct op_call *c, struct kms_error *err)
{
    const struct update_store_request *const request = OP_REQUEST(update_store, c);
    const struct key_store_update update = { .name = request->name,
                                             .cluster = request->cluster,
                                             .password = request->password != NULL };

    if (key_store_update(c->keyring, request->id, &update, err) < 0)
        return -1;
    return answer_nothing(c, err);
}

/* That the token does not open is seen by DescribeCustomKeyStores; why, in the service's log. */
int op_connect_store(struct op_call *c, struct kms_error *err)
{
    if (key_store_connect(c->keyring, OP_REQUEST(store_only, c)->id, err) < 0)
        return -1;
    return answer_nothing(c, err);
}

int op_disconnect_store(struct op_call *c, struct kms_error *err)
{
    if (key_store_disconnect(c->keyring, OP_REQUEST(store_only, c)->id, err) < 0)
        return -1;
    return answer_nothing(c, err);
}

int op_delete_store(struct op_call *c, struct kms_error *err)
{
    if (key_store_delete(c->keyring, OP_REQUEST(store_only, c)->id, err) < 0)
        return -1;
    return answer_nothing(c, err);
}
