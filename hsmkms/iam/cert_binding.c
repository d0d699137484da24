#include "hsmkms/iam/cert_binding.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct cert_bindings {
    struct iam *iam;

    /* Guards records and count; never held over a token or disk call. */
    pthread_rwlock_t lock;
    struct certificate_binding_record *records; /* in order of spki */
    size_t count;

    /* One change at a time; held over token and disk calls on purpose. Whoever holds it may read
     * records without the lock, because nobody else writes. */
    pthread_mutex_t change;
};

static void certificate_binding_record_done(struct certificate_binding_record *record)
{
    record_done(&certificate_binding_table, record);
}

/* --- the list --------------------------------------------------------------------------------- */

/* Index of the first record whose spki is not less. With the lock, or in a change. */
static size_t place_of(const struct cert_bindings *bindings, const char *spki)
{
    size_t low = 0, high = bindings->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(bindings->records[middle].spki, spki) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct certificate_binding_record *find(const struct cert_bindings *bindings,
                                               const char *spki)
{
    const size_t i = place_of(bindings, spki);

    if (i == bindings->count || strcmp(bindings->records[i].spki, spki) != 0)
        return NULL;
    return &bindings->records[i];
}

/* Takes the record over, in place of one of the same key. Cannot fail: there is room for all. */
static void publish(struct cert_bindings *bindings, struct certificate_binding_record *record)
{
    struct certificate_binding_record *const records = bindings->records;

    (void)pthread_rwlock_wrlock(&bindings->lock);
    const size_t at = place_of(bindings, record->spki);
    if (find(bindings, record->spki))
        certificate_binding_record_done(&records[at]);
    else
        memmove(&records[at + 1], &records[at], (bindings->count++ - at) * sizeof(records[0]));
    records[at] = *record;
    (void)pthread_rwlock_unlock(&bindings->lock);
    *record = (struct certificate_binding_record){ 0 };
}

static void withdraw(struct cert_bindings *bindings, struct certificate_binding_record *record)
{
    (void)pthread_rwlock_wrlock(&bindings->lock);
    const size_t at = (size_t)(record - bindings->records);
    certificate_binding_record_done(record);
    bindings->count--;
    memmove(record, record + 1, (bindings->count - at) * sizeof(*record));
    (void)pthread_rwlock_unlock(&bindings->lock);
}

/* --- start and end ---------------------------------------------------------------------------- */

/* Rows are authentic; these are the things that another program version could have written. */
static int load_one(void *arg, const void *stored, struct kms_error *err)
{
    static const char hex[] = "0123456789abcdef";
    struct cert_bindings *const bindings = arg;
    const struct certificate_binding_record *const record = stored;
    AUTO(certificate_binding_record) copy = { 0 };

    if (record->identity == NULL || record->label == NULL ||
        strspn(record->spki, hex) != CERT_SPKI_LEN || record->spki[CERT_SPKI_LEN] != '\0')
        return kms_fail(err, KMS_ERR_INTEGRITY, "certificate binding '%.64s' is not well-formed",
                        record->spki);
    if (bindings->count >= CERT_BINDINGS_MAX)
        return kms_fail(err, KMS_ERR_INTEGRITY, "more than %d certificate bindings",
                        CERT_BINDINGS_MAX);
    if (record_copy(&certificate_binding_table, record, &copy, err) < 0)
        return -1;
    publish(bindings, &copy);
    return 0;
}

int cert_bindings_open(struct iam *iam, struct cert_bindings **ret, struct kms_error *err)
{
    struct cert_bindings *const bindings = calloc(1, sizeof(*bindings));

    if (bindings)
        bindings->records = calloc(CERT_BINDINGS_MAX, sizeof(bindings->records[0]));
    if (bindings == NULL || bindings->records == NULL) {
        free(bindings);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for certificate bindings");
    }
    bindings->iam = iam;
    (void)pthread_rwlock_init(&bindings->lock, NULL); /* cannot fail with default attributes */
    (void)pthread_mutex_init(&bindings->change, NULL);
    if (store_each(iam->config.store, &certificate_binding_table, load_one, bindings, err) < 0) {
        cert_bindings_close(bindings);
        return -1;
    }
    *ret = bindings;
    return 0;
}

void cert_bindings_close(struct cert_bindings *bindings)
{
    if (bindings == NULL)
        return;
    for (size_t i = 0; i < bindings->count; i++)
        certificate_binding_record_done(&bindings->records[i]);
    free(bindings->records);
    (void)pthread_mutex_destroy(&bindings->change);
    (void)pthread_rwlock_destroy(&bindings->lock);
    free(bindings);
}

/* --- changing --------------------------------------------------------------------------------- */

/* In a change: stages a record, or with drop its tombstone, and makes it durable. */
static int store_record(struct iam *iam, const struct certificate_binding_record *record, bool drop,
                        struct kms_error *err)
{
    struct store_tx *tx = NULL;

    if (store_begin(iam->config.store, &tx, err) < 0)
        return -1;
    const int staged = drop ? store_drop(tx, &certificate_binding_table, record, err)
                            : store_put(tx, &certificate_binding_table, record, err);
    if (staged < 0) {
        store_rollback(tx);
        return -1;
    }
    return store_commit(tx, err);
}

/* 64 digits of either case as lower-case ones. */
static int read_spki(const char *text, char ret[CERT_SPKI_LEN + 1], struct kms_error *err)
{
    if (strlen(text) != CERT_SPKI_LEN || strspn(text, "0123456789abcdefABCDEF") != CERT_SPKI_LEN)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "A certificate is named by %d hex digits: the SHA-256 of its public key.",
                        CERT_SPKI_LEN);
    for (size_t i = 0; i <= CERT_SPKI_LEN; i++)
        ret[i] = (char)tolower((unsigned char)text[i]);
    return 0;
}

static int check_label(const char *label, struct kms_error *err)
{
    for (const char *c = label; *c; c++)
        if (iscntrl((unsigned char)*c))
            return kms_fail(err, KMS_ERR_VALIDATION, "A label must not have control characters.");
    if (strlen(label) > CERT_LABEL_MAX)
        return kms_fail(err, KMS_ERR_VALIDATION, "A label has at most %d bytes.", CERT_LABEL_MAX);
    return 0;
}

static int find_user(struct iam *iam, const struct cert_binding_draft *draft,
                     char ret[UNIQUE_ID_LEN + 1], struct kms_error *err)
{
    struct identity *const user =
        directory_find(iam->directory, IDENTITY_USER, draft->account, draft->user_name);

    if (user == NULL)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "The user with name %.64s cannot be found.",
                        draft->user_name);
    memcpy(ret, user->unique_id, UNIQUE_ID_LEN + 1);
    identity_unref(user);
    return 0;
}

/* In a change. */
static int check_place(const struct cert_bindings *bindings, const char *spki, const char *identity,
                       struct kms_error *err)
{
    const struct certificate_binding_record *const bound = find(bindings, spki);

    if (bound && strcmp(bound->identity, identity) != 0)
        return kms_fail(err, KMS_ERR_ALREADY_EXISTS,
                        "The certificate stands for another user: unbind it first.");
    if (bound == NULL && bindings->count >= CERT_BINDINGS_MAX)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED, "Cannot exceed %d certificates.",
                        CERT_BINDINGS_MAX);
    return 0;
}

/* In a change. */
static int bind_key(struct cert_bindings *bindings, const struct certificate_binding_record *draft,
                    struct kms_error *err)
{
    AUTO(certificate_binding_record) record = { 0 };

    if (check_place(bindings, draft->spki, draft->identity, err) < 0 ||
        record_copy(&certificate_binding_table, draft, &record, err) < 0 ||
        store_record(bindings->iam, &record, false, err) < 0)
        return -1;
    publish(bindings, &record);
    return 0;
}

int cert_bind(struct iam *iam, const struct cert_binding_draft *draft, struct kms_error *err)
{
    struct cert_bindings *const bindings = iam->cert_bindings;
    const char *const label = draft->label ? draft->label : "";
    char spki[CERT_SPKI_LEN + 1], identity[UNIQUE_ID_LEN + 1];

    if (read_spki(draft->spki, spki, err) < 0 || check_label(label, err) < 0 ||
        find_user(iam, draft, identity, err) < 0)
        return -1;
    /* borrows its texts, hence the cast: the list has a copy of its own */
    const struct certificate_binding_record record = { .spki = spki,
                                                       .identity = identity,
                                                       .label = (char *)(uintptr_t)label,
                                                       .created_ms =
                                                           clock_wall_ms(iam->config.clock) };
    (void)pthread_mutex_lock(&bindings->change);
    const int result = bind_key(bindings, &record, err);
    (void)pthread_mutex_unlock(&bindings->change);
    return result;
}

/* In a change. */
static int unbind_key(struct cert_bindings *bindings, const char *spki, struct kms_error *err)
{
    struct certificate_binding_record *const record = find(bindings, spki);

    if (record == NULL)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "The certificate is not bound to a user.");
    if (store_record(bindings->iam, record, true, err) < 0)
        return -1;
    withdraw(bindings, record);
    return 0;
}

int cert_unbind(struct iam *iam, const char *text, struct kms_error *err)
{
    struct cert_bindings *const bindings = iam->cert_bindings;
    char spki[CERT_SPKI_LEN + 1];

    if (read_spki(text, spki, err) < 0)
        return -1;
    (void)pthread_mutex_lock(&bindings->change);
    const int result = unbind_key(bindings, spki, err);
    (void)pthread_mutex_unlock(&bindings->change);
    return result;
}

/* --- reading ---------------------------------------------------------------------------------- */

void cert_binding_each(struct iam *iam, cert_binding_each_fn *each, void *arg)
{
    struct cert_bindings *const bindings = iam->cert_bindings;

    (void)pthread_rwlock_rdlock(&bindings->lock);
    for (size_t i = 0; i < bindings->count; i++)
        each(arg, &bindings->records[i]);
    (void)pthread_rwlock_unlock(&bindings->lock);
}

/* The unique id that a key stands for; false: none. */
static bool identity_of(struct cert_bindings *bindings, const char *spki,
                        char ret[UNIQUE_ID_LEN + 1])
{
    (void)pthread_rwlock_rdlock(&bindings->lock);
    const struct certificate_binding_record *const record = find(bindings, spki);
    const bool bound = record && strlen(record->identity) == UNIQUE_ID_LEN;
    if (bound)
        memcpy(ret, record->identity, UNIQUE_ID_LEN + 1);
    (void)pthread_rwlock_unlock(&bindings->lock);
    return bound;
}

/* A key that is not bound and one whose user may not sign are the same to whoever asks. */
int cert_principal(struct iam *iam, const char *spki, struct principal *ret, struct kms_error *err)
{
    char unique_id[UNIQUE_ID_LEN + 1];
    struct identity *user = NULL;

    if (spki && spki[0] && identity_of(iam->cert_bindings, spki, unique_id))
        user = directory_get(iam->directory, unique_id);
    if (user == NULL || !user->enabled || user->kind != IDENTITY_USER) {
        identity_unref(user);
        return kms_fail(err, KMS_ERR_UNRECOGNIZED_CLIENT,
                        "The client certificate stands for nobody.");
    }
    principal_of_user(user, NULL, "", ret); /* takes over the reference */
    return 0;
}
