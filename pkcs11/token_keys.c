#include "pkcs11/pair_state.h"

#include <stdlib.h>

/* Generating */

static int make_key(struct token *token, const struct kind *kind, const struct uuid *id,
                    const char *label, struct object **ret, struct kms_error *err)
{
    CK_MECHANISM make = { kind->make, NULL, 0 };
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    struct attrs want = { 0 };

    mech_template(&want, kind, token->module.profile, KEY_IN_TOKEN);
    attrs_bytes(&want, CKA_ID, uuid_span(id));
    attrs_bytes(&want, CKA_LABEL, span_text(label));
    /* never tried twice: a failed call may have made an object */
    if (P11(&token->manage, C_GenerateKey, &make, want.list, want.count, &handle) != CKR_OK)
        return session_fail(&token->manage, err);
    return object_bind(&token->cache, id, handle, ret, err);
}

static CK_RV try_canary(struct session *session, enum token_kind kind, const struct object *object,
                        uint8_t ret[TOKEN_CANARY_LEN])
{
    if (kind != TOKEN_AES_GCM)
        return mac_canary_make(session, object->handle, kind_of(kind), &object->id, ret);
    const CK_RV rv = canary_make(session, object->handle, &object->id, ret);
    return rv == CKR_OK ? canary_open(session, object->handle, &object->id, ret) : rv;
}

static int make_canary(struct token *token, enum token_kind kind, const struct object *object,
                       uint8_t ret[TOKEN_CANARY_LEN], struct kms_error *err)
{
    struct session *const session = &token->manage;

    if (try_canary(session, kind, object, ret) != CKR_OK)
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE, "canary: %s: %s (0x%lx)",
                               session->function, ck_name(session->rv), (unsigned long)session->rv);
    return 0;
}

/* Exclusive lock held. */
static int generate(struct token *token, enum token_kind kind, const struct uuid *id,
                    const char *label, uint8_t ret_canary[TOKEN_CANARY_LEN], struct kms_error *err)
{
    struct object *object = NULL;

    if (make_key(token, kind_of(kind), id, label, &object, err) < 0)
        return -1;
    if (kind != TOKEN_HMAC && make_canary(token, kind, object, ret_canary, err) < 0) {
        object_drop(&token->cache, &token->owner, id);
        return -1;
    }
    token->cache.keys++;
    return 0;
}

int token_key_generate(struct token *token, enum token_kind kind, const struct uuid *id,
                       const char *label, uint8_t ret_canary[TOKEN_CANARY_LEN],
                       struct kms_error *err)
{
    uint8_t canary[TOKEN_CANARY_LEN] = { 0 };

    if (token_pass(token, err) < 0)
        return -1;
    if (atomic_load(&token->random_stuck))
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE,
                               "the token's random generator repeats itself");
    if (token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int made = generate(token, kind, id, label, canary, err);
    token_alone_done(token, made < 0);
    if (made < 0 || guard_sync(&token->guard, err) < 0 ||
        token_key_verify(token, kind, id, err) < 0)
        return -1;
    memcpy(ret_canary, canary, sizeof(canary));
    return 0;
}

/* Verifying */

/* Exclusive lock held. */
static int verify(struct token *token, enum token_kind kind, const struct uuid *id,
                  struct kms_error *err)
{
    struct session *const session = &token->manage;
    struct object *object = object_lookup(&token->cache, id);

    if ((object == NULL || object->handle == CK_INVALID_HANDLE) &&
        token_rebind(token, id, &object, err) < 0)
        return -1;
    if (object->fault == OBJECT_ABSENT)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "the token has no key with this id");
    if (object->fault == OBJECT_TWICE)
        return kms_fail(err, KMS_ERR_INTEGRITY, "several keys in the token have this id");
    if (probe_attributes(session, kind_of(kind), object->handle, err) < 0)
        return -1;
    return probe_refusals(&token->probe, session, kind_of(kind), object->handle, err);
}

int token_key_verify(struct token *token, enum token_kind kind, const struct uuid *id,
                     struct kms_error *err)
{
    if (token_pass(token, err) < 0 || token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int good = verify(token, kind, id, err);
    token_alone_done(token, good < 0 && err->code != KMS_ERR_NOT_FOUND);
    return good;
}

/* Exclusive lock held. ret_failed: by the token, and not by what it holds. */
static int new_canary(struct token *token, enum token_kind kind, const struct uuid *id,
                      uint8_t ret[TOKEN_CANARY_LEN], bool *ret_failed, struct kms_error *err)
{
    struct object *object = NULL;

    *ret_failed = true;
    if (token_rebind(token, id, &object, err) < 0)
        return -1;
    *ret_failed = false;
    if (object->fault != OBJECT_GOOD)
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE, "%s",
                               object_fault_text(object->fault));
    *ret_failed = make_canary(token, kind, object, ret, err) < 0;
    return *ret_failed ? -1 : 0;
}

static int any_canary(struct token *token, enum token_kind kind, const struct uuid *id,
                      uint8_t ret_canary[TOKEN_CANARY_LEN], struct kms_error *err)
{
    uint8_t canary[TOKEN_CANARY_LEN];
    bool failed = false;

    if (token_pass(token, err) < 0 || token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int made = new_canary(token, kind, id, canary, &failed, err);
    token_alone_done(token, failed);
    if (made < 0)
        return -1;
    memcpy(ret_canary, canary, sizeof(canary));
    return 0;
}

int token_key_canary(struct token *token, const struct uuid *id,
                     uint8_t ret_canary[TOKEN_CANARY_LEN], struct kms_error *err)
{
    return any_canary(token, TOKEN_AES_GCM, id, ret_canary, err);
}

int token_mac_canary(struct token *token, enum token_kind kind, const struct uuid *id,
                     uint8_t ret_canary[TOKEN_CANARY_LEN], struct kms_error *err)
{
    return any_canary(token, kind, id, ret_canary, err);
}

/* Destroying and forgetting */

/* Exclusive lock held. */
static int destroy(struct token *token, const struct uuid *id, struct kms_error *err)
{
    const struct object *const known = object_lookup(&token->cache, id);
    const bool counted = known && known->handle != CK_INVALID_HANDLE;

    object_drop(&token->cache, &token->owner, id);
    if (object_destroy(&token->manage, id, err) < 0)
        return -1;
    if (counted)
        token->cache.keys--;
    return 0;
}

int token_key_destroy(struct token *token, const struct uuid *id, struct kms_error *err)
{
    if (token_pass(token, err) < 0 || token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int gone = destroy(token, id, err);
    token_alone_done(token, gone < 0);
    return gone < 0 ? -1 : guard_sync(&token->guard, err);
}

void token_key_forget(struct token *token, const struct uuid *id)
{
    (void)pthread_rwlock_rdlock(&token->lock); /* shared: not held up by a call that hangs */
    struct object *const object = object_lookup(&token->cache, id);
    if (object)
        copy_forget(&token->cache, object);
    (void)pthread_rwlock_unlock(&token->lock);
}

/* The inventory: copied under a lock, shown without any, so that each may call us. */

struct inventory {
    struct object_seen *list;
    size_t len;
};

static void inventory_done(struct inventory *inventory)
{
    free(inventory->list);
    *inventory = (struct inventory){ 0 };
}

static int copy_listing(const struct listing *listing, struct inventory *ret, struct kms_error *err)
{
    if (listing->len == 0)
        return 0;
    ret->list = reallocarray(NULL, listing->len, sizeof(*ret->list));
    if (ret->list == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for %zu objects", listing->len);
    memcpy(ret->list, listing->list, listing->len * sizeof(*ret->list));
    ret->len = listing->len;
    return 0;
}

/* What a search of a moment ago showed. *ret_taken false: there was none. */
static int take_listed(struct token *token, struct inventory *ret, bool *ret_taken,
                       struct kms_error *err)
{
    int copied = 0;

    (void)pthread_rwlock_rdlock(&token->lock);
    *ret_taken = cache_is_listed(&token->cache);
    if (*ret_taken)
        copied = copy_listing(&token->cache.listing, ret, err);
    (void)pthread_rwlock_unlock(&token->lock);
    return copied;
}

static int take_searched(struct token *token, struct inventory *ret, struct kms_error *err)
{
    if (token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int loaded = cache_load(&token->cache, &token->manage, &token->owner, err);
    const int copied = loaded < 0 ? -1 : copy_listing(&token->cache.listing, ret, err);
    token_alone_done(token, loaded < 0);
    return copied;
}

int token_inventory(struct token *token, token_each_fn *each, void *arg, struct kms_error *err)
{
    AUTO(inventory) inventory = { 0 };
    bool taken = false;

    if (token_pass(token, err) < 0 || take_listed(token, &inventory, &taken, err) < 0 ||
        (!taken && take_searched(token, &inventory, err) < 0))
        return -1;
    for (size_t i = 0; i < inventory.len; i++)
        if (each(arg, &inventory.list[i].id, inventory.list[i].label, err) < 0)
            return -1;
    return 0;
}
