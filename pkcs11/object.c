#include "pkcs11/object.h"

#include <assert.h>
#include <stdlib.h>

#include "hsmkms/base/clock.h"

#define FIND_BATCH     512
#define LABEL_ROOM     256
#define ABSENT_TIME_US 1000000

int cache_open(struct cache *ret, unsigned limit, struct kms_error *err)
{
    if (limit) {
        ret->copies = calloc(limit, sizeof(struct object *));
        if (ret->copies == NULL)
            return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for %u copies", limit);
    }
    ret->limit = limit;
    return 0;
}

void cache_close(struct cache *cache)
{
    struct object *object, *next;

    HASH_ITER(hh, cache->table, object, next)
    {
        HASH_DEL(cache->table, object);
        free(object);
    }
    free(cache->copies);
    free(cache->listing.list);
    *cache = (struct cache){ 0 };
}

/* Searching */

struct handles {
    CK_OBJECT_HANDLE *list;
    size_t len, cap;
};

static void handles_done(struct handles *handles)
{
    free(handles->list);
    *handles = (struct handles){ 0 };
}

static int handles_room(struct handles *handles, struct kms_error *err)
{
    if (handles->len + FIND_BATCH <= handles->cap)
        return 0;
    const size_t cap = handles->cap ? handles->cap * 2 : FIND_BATCH;
    CK_OBJECT_HANDLE *const moved = reallocarray(handles->list, cap, sizeof(*moved));
    if (moved == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for %zu handles", cap);
    handles->list = moved;
    handles->cap = cap;
    return 0;
}

static int find_batches(struct session *session, struct handles *ret, struct kms_error *err)
{
    for (;;) {
        CK_ULONG found = 0;

        if (handles_room(ret, err) < 0)
            return -1;
        if (P11(session, C_FindObjects, ret->list + ret->len, FIND_BATCH, &found) != CKR_OK)
            return session_fail(session, err);
        if (found == 0)
            return 0;
        ret->len += found;
    }
}

static int find_begin(struct session *session, const struct uuid *id, struct kms_error *err)
{
    struct attrs want = { 0 };

    /* of any class: one search finds secret and private keys, and the public halves of pairs */
    attrs_bool(&want, CKA_TOKEN, true);
    if (id)
        attrs_bytes(&want, CKA_ID, uuid_span(id));
    if (P11(session, C_FindObjectsInit, want.list, want.count) != CKR_OK)
        return session_fail(session, err);
    return 0;
}

/* found: what the search has come to so far, -1 with err filled. */
static int find_end(struct session *session, int found, struct kms_error *err)
{
    const CK_RV rv = session->module->list->C_FindObjectsFinal(session->handle);

    if (found < 0) {
        session->broken = true;
        return -1;
    }
    if (session_saw(session, "C_FindObjectsFinal", rv) != CKR_OK)
        return session_fail(session, err);
    return 0;
}

static int find(struct session *session, const struct uuid *id, struct handles *ret,
                struct kms_error *err)
{
    if (find_begin(session, id, err) < 0)
        return -1;
    return find_end(session, find_batches(session, ret, err), err);
}

int object_any(struct session *session, bool *ret, struct kms_error *err)
{
    CK_OBJECT_HANDLE first;
    CK_ULONG found = 0;

    if (find_begin(session, NULL, err) < 0)
        return -1;
    const int looked =
        P11(session, C_FindObjects, &first, 1, &found) == CKR_OK ? 0 : session_fail(session, err);
    *ret = found > 0;
    return find_end(session, looked, err);
}

/*
 * One call per object for everything we want to know of it. False: it is no longer there, or
 * neither a secret nor a private key.
 */
static bool look_at(struct session *session, CK_OBJECT_HANDLE handle, struct object_seen *ret)
{
    uint8_t label[LABEL_ROOM], id[sizeof(struct uuid) + 1];
    CK_BBOOL private = 0, sensitive = 0, extractable = 0;
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    struct attrs got = { 0 };

    attrs_room(&got, CKA_ID, id, sizeof(id));
    attrs_room(&got, CKA_LABEL, label, sizeof(label));
    attrs_room(&got, CKA_PRIVATE, &private, sizeof(private));
    attrs_room(&got, CKA_SENSITIVE, &sensitive, sizeof(sensitive));
    attrs_room(&got, CKA_EXTRACTABLE, &extractable, sizeof(extractable));
    attrs_room(&got, CKA_CLASS, &class, sizeof(class));
    *ret = (struct object_seen){ .handle = handle };

    /* a row that does not fit says so in its length; the others are filled all the same */
    const CK_RV rv = P11_TRY(session, C_GetAttributeValue, handle, got.list, got.count);
    if (ck_class(rv) == RV_HANDLE || (class != CKO_SECRET_KEY && class != CKO_PRIVATE_KEY))
        return false;
    if (rv != CKR_OK && rv != CKR_BUFFER_TOO_SMALL)
        return true; /* half an object, as a killed generation leaves: it has no id for us */
    ret->has_id = got.list[0].ulValueLen == sizeof(ret->id.bytes);
    if (ret->has_id)
        memcpy(ret->id.bytes, id, sizeof(ret->id.bytes));
    if (got.list[1].ulValueLen <= sizeof(label)) {
        const size_t len = got.list[1].ulValueLen;
        memcpy(ret->label, label, len < OBJECT_LABEL_MAX ? len : OBJECT_LABEL_MAX);
    }
    ret->weak = !attr_flag_is(&got.list[2], true) || !attr_flag_is(&got.list[3], true) ||
                !attr_flag_is(&got.list[4], false);
    return true;
}

int object_search(struct session *session, const struct uuid *id, object_seen_fn *each, void *arg,
                  struct kms_error *err)
{
    AUTO(handles) handles = { 0 };
    struct object_seen seen;

    if (find(session, id, &handles, err) < 0)
        return -1;
    for (size_t i = 0; i < handles.len; i++) {
        if (!look_at(session, handles.list[i], &seen))
            continue;
        if (ck_class(session->rv) == RV_SESSION || ck_class(session->rv) == RV_DEVICE)
            return session_fail(session, err);
        if (each(arg, &seen, err) < 0)
            return -1;
    }
    return 0;
}

/* What was seen of everything */

void cache_unlist(struct cache *cache)
{
    free(cache->listing.list);
    cache->listing = (struct listing){ 0 };
}

static int list_one(struct listing *listing, const struct object_seen *seen, struct kms_error *err)
{
    if (listing->len == listing->cap) {
        const size_t cap = listing->cap ? listing->cap * 2 : 256;
        struct object_seen *const moved = reallocarray(listing->list, cap, sizeof(*moved));
        if (moved == NULL)
            return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for %zu objects", cap);
        listing->list = moved;
        listing->cap = cap;
    }
    listing->list[listing->len++] = *seen;
    return 0;
}

bool cache_is_listed(const struct cache *cache)
{
    return clock_mono_us() < cache->listing.until_us;
}

/* The table */

const char *object_fault_text(enum object_fault fault)
{
    static const char *const texts[] = {
        [OBJECT_GOOD] = NULL,
        [OBJECT_ABSENT] = "the token has no key with this id",
        [OBJECT_TWICE] = "several keys in the token have this id",
        [OBJECT_WEAK] = "the key with this id is not private, not sensitive, or extractable",
    };

    return texts[fault];
}

struct object *object_lookup(const struct cache *cache, const struct uuid *id)
{
    struct object *found = NULL;

    HASH_FIND(hh, cache->table, id, sizeof(*id), found);
    return found;
}

static struct object *entry_of(struct cache *cache, const struct uuid *id, struct kms_error *err)
{
    struct object *object = object_lookup(cache, id);

    if (object)
        return object;
    object = calloc(1, sizeof(*object));
    if (object) {
        object->id = *id;
        HASH_ADD(hh, cache->table, id, sizeof(object->id), object);
        if (object->hh.tbl)
            return object;
        free(object);
    }
    (void)kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for a key handle");
    return NULL;
}

static void bind(struct object *object, CK_OBJECT_HANDLE handle, enum object_fault fault)
{
    if (object->handle != handle || fault != OBJECT_GOOD)
        atomic_store(&object->checked, false);
    object->handle = handle;
    object->fault = fault;
}

int object_bind(struct cache *cache, const struct uuid *id, CK_OBJECT_HANDLE handle,
                struct object **ret, struct kms_error *err)
{
    struct object *const object = entry_of(cache, id, err);

    if (object == NULL)
        return -1;
    bind(object, handle, OBJECT_GOOD);
    *ret = object;
    return 0;
}

CK_OBJECT_HANDLE object_use(struct object *object)
{
    if (!atomic_load_explicit(&object->recent, memory_order_relaxed))
        atomic_store_explicit(&object->recent, true, memory_order_relaxed);
    if (object->copy != CK_INVALID_HANDLE &&
        !atomic_load_explicit(&object->forgotten, memory_order_relaxed))
        return object->copy;
    atomic_fetch_add_explicit(&object->uses, 1, memory_order_relaxed);
    return object->handle;
}

void object_drop(struct cache *cache, struct session *owner, const struct uuid *id)
{
    struct object *const object = object_lookup(cache, id);

    if (object == NULL)
        return;
    copy_drop(cache, owner, object);
    HASH_DEL(cache->table, object);
    free(object);
}

void cache_unbind(struct cache *cache)
{
    cache_unlist(cache);
    for (struct object *object = cache->table; object; object = object->hh.next) {
        bind(object, CK_INVALID_HANDLE, OBJECT_GOOD);
        object->copy = CK_INVALID_HANDLE;
        atomic_store(&object->forgotten, false);
        object->look_again_us = 0;
        atomic_store(&object->checked, false);
    }
    cache->copied = cache->hand = cache->recheck = 0;
}

/* Loading: a round marks what it saw by taking the old handle out first. */

static int load_one(void *arg, const struct object_seen *seen, struct kms_error *err)
{
    struct cache *const cache = arg;
    struct object *object;

    if (!seen->has_id) {
        cache->ignored++;
        return 0;
    }
    object = entry_of(cache, &seen->id, err);
    if (object == NULL)
        return -1;
    if (object->look_again_us == -1) /* seen in this round already */
        bind(object, CK_INVALID_HANDLE, OBJECT_TWICE);
    else
        bind(object, seen->handle, seen->weak ? OBJECT_WEAK : OBJECT_GOOD);
    object->look_again_us = -1;
    cache->keys++;
    return list_one(&cache->listing, seen, err);
}

int cache_load(struct cache *cache, struct session *session, struct session *owner,
               struct kms_error *err)
{
    const int64_t begun_us = clock_mono_us();
    struct object *object, *next;

    cache_unlist(cache);
    cache->keys = cache->ignored = 0;
    for (object = cache->table; object; object = object->hh.next)
        object->look_again_us = 0;
    if (object_search(session, NULL, load_one, cache, err) < 0)
        return -1;
    HASH_ITER(hh, cache->table, object, next)
    {
        if (object->look_again_us == -1)
            object->look_again_us = 0;
        else
            object_drop(cache, owner, &object->id);
    }
    cache->listing.until_us = begun_us + LISTING_TIME_US;
    return 0;
}

struct finding {
    struct object_seen seen;
    unsigned count;
};

static int find_one(void *arg, const struct object_seen *seen, struct kms_error *err)
{
    struct finding *const finding = arg;

    (void)err;
    finding->seen = *seen;
    finding->count++;
    return 0;
}

int object_refind(struct cache *cache, struct session *session, const struct uuid *id,
                  struct object **ret, struct kms_error *err)
{
    struct finding finding = { 0 };
    struct object *const object = entry_of(cache, id, err);
    const int64_t now_us = clock_mono_us();

    if (object == NULL)
        return -1;
    *ret = object;
    if (object->fault == OBJECT_ABSENT && now_us < object->look_again_us)
        return 0;
    if (object_search(session, id, find_one, &finding, err) < 0)
        return -1;
    atomic_store(&object->checked, false); /* a handle that was lost may mean another key now */
    if (finding.count == 0) {
        bind(object, CK_INVALID_HANDLE, OBJECT_ABSENT);
        object->look_again_us = now_us + ABSENT_TIME_US;
    } else if (finding.count > 1) {
        bind(object, CK_INVALID_HANDLE, OBJECT_TWICE);
    } else {
        bind(object, finding.seen.handle, finding.seen.weak ? OBJECT_WEAK : OBJECT_GOOD);
    }
    return 0;
}

int object_public(struct session *session, const struct uuid *id, CK_OBJECT_HANDLE *ret,
                  struct kms_error *err)
{
    AUTO(handles) handles = { 0 };
    unsigned found = 0;

    if (find(session, id, &handles, err) < 0)
        return -1;
    for (size_t i = 0; i < handles.len; i++) {
        CK_OBJECT_CLASS class = CKO_VENDOR_DEFINED;
        struct attrs got = { 0 };

        attrs_room(&got, CKA_CLASS, &class, sizeof(class));
        if (P11(session, C_GetAttributeValue, handles.list[i], got.list, got.count) != CKR_OK)
            return session_fail(session, err);
        if (class == CKO_PUBLIC_KEY) {
            *ret = handles.list[i];
            found++;
        }
    }
    if (found == 0)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "the token has no public key with this id");
    if (found > 1)
        return kms_fail(err, KMS_ERR_INTEGRITY, "several public keys in the token have this id");
    return 0;
}

/* Destroying */

int object_destroy(struct session *session, const struct uuid *id, struct kms_error *err)
{
    AUTO(handles) before = { 0 }, after = { 0 };

    if (find(session, id, &before, err) < 0)
        return -1;
    for (size_t i = 0; i < before.len; i++) {
        const CK_RV rv = P11(session, C_DestroyObject, before.list[i]);
        if (rv != CKR_OK && ck_class(rv) != RV_HANDLE)
            return session_fail(session, err);
    }
    if (before.len == 0)
        return 0;
    if (find(session, id, &after, err) < 0)
        return -1;
    if (after.len)
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE, "%zu objects left after destroying",
                               after.len);
    return 0;
}
