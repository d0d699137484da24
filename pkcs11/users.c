#include "pkcs11/users.h"

#include <pthread.h>
#include <stdlib.h>

#include "pkcs11/ck_error.h"

/* A module that is started. Entries stay: a process loads few modules and unloads none. */
struct started {
    CK_FUNCTION_LIST *list;
    bool ours; /* C_Initialize was ours, so C_Finalize is too */
    struct module *users;
    struct started *next;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards all that hangs on known */
static struct started *known;

static struct started *find(const CK_FUNCTION_LIST *list)
{
    struct started *entry = known;

    while (entry && entry->list != list)
        entry = entry->next;
    return entry;
}

/* NULL: out of memory. */
static struct started *get(CK_FUNCTION_LIST *list)
{
    struct started *entry = find(list);

    if (entry)
        return entry;
    entry = calloc(1, sizeof(*entry));
    if (entry) {
        entry->list = list;
        entry->next = known;
        known = entry;
    }
    return entry;
}

static int initialize(struct started *entry, const struct module *module, void *init,
                      struct kms_error *err)
{
    const CK_RV rv = entry->list->C_Initialize(init);

    if (rv != CKR_OK && rv != CKR_CRYPTOKI_ALREADY_INITIALIZED)
        return kms_fail_detail(err, KMS_ERR_CONFIG, "C_Initialize of %s: %s (0x%lx)", module->path,
                               ck_name(rv), (unsigned long)rv);
    entry->ours = rv == CKR_OK;
    return 0;
}

static const char *args_of(const struct module *module)
{
    return module->init_args ? module->init_args : "";
}

static int add(struct module *module, void *init, struct kms_error *err)
{
    struct started *const entry = get(module->list);

    if (entry == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for a module");
    if (entry->users && strcmp(args_of(entry->users), args_of(module)) != 0)
        return kms_fail_detail(err, KMS_ERR_CONFIG,
                               "tokens of one module need the same init_args: %s", module->path);
    if (entry->users == NULL && initialize(entry, module, init, err) < 0)
        return -1;
    module->next_user = entry->users;
    entry->users = module;
    return 0;
}

int module_users_add(struct module *module, void *init, struct kms_error *err)
{
    (void)pthread_mutex_lock(&mutex);
    const int added = add(module, init, err);
    (void)pthread_mutex_unlock(&mutex);
    return added;
}

void module_users_drop(struct module *module)
{
    (void)pthread_mutex_lock(&mutex);
    struct started *const entry = find(module->list);
    for (struct module **at = entry ? &entry->users : NULL; at && *at; at = &(*at)->next_user) {
        if (*at != module)
            continue;
        *at = module->next_user;
        break;
    }
    if (entry && entry->users == NULL && entry->ours) {
        (void)entry->list->C_Finalize(NULL); /* nothing left that could be saved */
        entry->ours = false;
    }
    module->next_user = NULL;
    module->found = false;
    (void)pthread_mutex_unlock(&mutex);
}

int module_users_claim(struct module *module, struct kms_error *err)
{
    bool taken = false;

    (void)pthread_mutex_lock(&mutex);
    const struct started *const entry = find(module->list);
    for (const struct module *user = entry ? entry->users : NULL; user; user = user->next_user)
        taken = taken || (user != module && user->found && user->slot == module->slot);
    module->found = !taken;
    (void)pthread_mutex_unlock(&mutex);
    if (taken)
        return kms_fail_detail(err, KMS_ERR_CONFIG, "the token of %s is in use for other keys already",
                               module->uri);
    return 0;
}
