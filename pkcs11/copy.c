/* Session copies of hot keys; declared in object.h. */

#include "pkcs11/object.h"

#define RECHECK_AT_ONCE 128

bool object_wants_copy(const struct cache *cache, const struct object *object)
{
    return cache->limit && object->copy == CK_INVALID_HANDLE && !object->copy_refused &&
           atomic_load_explicit(&object->uses, memory_order_relaxed) >= COPY_AFTER_USES;
}

void copy_drop(struct cache *cache, struct session *owner, struct object *object)
{
    if (object->copy == CK_INVALID_HANDLE)
        return;
    (void)P11(owner, C_DestroyObject, object->copy); /* its handle is never used again */
    object->copy = CK_INVALID_HANDLE;
    atomic_store(&object->forgotten, false);
    atomic_store(&object->uses, 0);

    /* the last place moves into the one that is free now */
    struct object *const last = cache->copies[--cache->copied];
    cache->copies[object->copy_place] = last;
    last->copy_place = object->copy_place;
}

void copy_forget(struct cache *cache, struct object *object)
{
    if (object->copy == CK_INVALID_HANDLE)
        return;
    atomic_store(&object->forgotten, true);
    atomic_store(&cache->forgotten, true);
}

void copy_drop_forgotten(struct cache *cache, struct session *owner)
{
    if (!atomic_exchange(&cache->forgotten, false))
        return;
    for (unsigned i = cache->copied; i > 0; i--) /* a drop moves the last one, seen before */
        if (atomic_load(&cache->copies[i - 1]->forgotten))
            copy_drop(cache, owner, cache->copies[i - 1]);
}

/* Frees one place: the hand passes by what was used since its last round, once. */
static void make_room(struct cache *cache, struct session *owner)
{
    while (cache->copied == cache->limit) {
        cache->hand = (cache->hand + 1) % cache->copied;
        struct object *const object = cache->copies[cache->hand];

        if (!atomic_exchange(&object->recent, false))
            copy_drop(cache, owner, object);
    }
}

static bool is_strict(struct session *session, CK_OBJECT_HANDLE handle)
{
    CK_BBOOL private = 0, sensitive = 0, extractable = 0, in_token = 0;
    struct attrs got = { 0 };

    attrs_room(&got, CKA_PRIVATE, &private, sizeof(private));
    attrs_room(&got, CKA_SENSITIVE, &sensitive, sizeof(sensitive));
    attrs_room(&got, CKA_EXTRACTABLE, &extractable, sizeof(extractable));
    attrs_room(&got, CKA_TOKEN, &in_token, sizeof(in_token));
    return P11(session, C_GetAttributeValue, handle, got.list, got.count) == CKR_OK &&
           attr_flag_is(&got.list[0], true) && attr_flag_is(&got.list[1], true) &&
           attr_flag_is(&got.list[2], false) && attr_flag_is(&got.list[3], false);
}

/* The token's word, and not a session or handle that got lost on the way. */
static bool is_answer(CK_RV rv)
{
    const enum ck_class class = ck_class(rv);

    return class != RV_SESSION && class != RV_HANDLE && class != RV_LOGIN;
}

void copy_make(struct cache *cache, struct session *session, struct session *owner,
               struct object *object, const uint8_t canary[TOKEN_CANARY_LEN])
{
    CK_OBJECT_HANDLE copy = CK_INVALID_HANDLE;
    struct attrs change = { 0 };

    if (object->fault != OBJECT_GOOD || object->handle == CK_INVALID_HANDLE)
        return;
    attrs_bool(&change, CKA_TOKEN, false);
    if (P11(owner, C_CopyObject, object->handle, change.list, change.count, &copy) != CKR_OK) {
        /* a lost handle is found again by the next use; anything else is an answer */
        object->copy_refused = ck_class(owner->rv) == RV_BUG;
        atomic_store(&object->uses, 0);
        return;
    }
    if (!is_strict(session, copy) || canary_open(session, copy, &object->id, canary) != CKR_OK) {
        object->copy_refused = is_answer(session->rv);
        atomic_store(&object->uses, 0);
        (void)P11(owner, C_DestroyObject, copy); /* never used */
        return;
    }
    make_room(cache, owner);
    object->copy = copy;
    object->copy_place = cache->copied;
    cache->copies[cache->copied++] = object;
}

static bool original_is_well(struct session *session, const struct object *object)
{
    CK_BBOOL encrypts = 0;
    struct attrs got = { 0 };

    attrs_room(&got, CKA_ENCRYPT, &encrypts, sizeof(encrypts));
    return P11_TRY(session, C_GetAttributeValue, object->handle, got.list, got.count) == CKR_OK &&
           attr_flag_is(&got.list[0], true);
}

void copy_recheck(struct cache *cache, struct session *session, struct session *owner)
{
    for (unsigned i = 0; i < RECHECK_AT_ONCE && i <= cache->copied && cache->copied; i++) {
        cache->recheck = (cache->recheck + 1) % cache->copied;
        struct object *const object = cache->copies[cache->recheck];

        if (original_is_well(session, object))
            continue;
        copy_drop(cache, owner, object);
        /* the next use looks for it in the token again, and believes nothing of before */
        object->handle = CK_INVALID_HANDLE;
        atomic_store(&object->checked, false);
    }
}
