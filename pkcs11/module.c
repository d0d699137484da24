#include "pkcs11/module.h"

#include <p11-kit/uri.h>
#include <stdlib.h>
#include <time.h>

#include "pkcs11/ck_error.h"
#include "pkcs11/users.h"

#define SLOTS_MAX      64 /* more are not looked at */
#define SEARCH_TRIES   5
#define SEARCH_WAIT_MS 50

int module_load(struct module *ret, const char *path, const char *init_args, const char *uri,
                struct kms_error *err)
{
    /* unmanaged: the module's own function list, without generated closures in between */
    CK_FUNCTION_LIST *const list =
        p11_kit_module_load(path, P11_KIT_MODULE_CRITICAL | P11_KIT_MODULE_UNMANAGED);

    if (list == NULL)
        return kms_fail_detail(err, KMS_ERR_CONFIG, "cannot load PKCS#11 module %s: %s", path,
                               p11_kit_message() ? p11_kit_message() : "unknown reason");
    *ret = (struct module){ .list = list, .path = path, .init_args = init_args, .uri = uri };
    return 0;
}

int module_start(struct module *module, struct kms_error *err)
{
    /* NSS softokn reads one more pointer than the standard has; it must be NULL */
    struct {
        CK_C_INITIALIZE_ARGS args;
        void *beyond;
    } init = { .args.flags = CKF_OS_LOCKING_OK };

    if (module->init_args && module->init_args[0])
        init.args.pReserved = (void *)module->init_args; /* modules only read it */

    if (module_users_add(module, &init.args, err) < 0)
        return -1;
    module->started = true;

    const CK_RV info_rv = module->list->C_GetInfo(&module->info);
    if (info_rv != CKR_OK) {
        module_stop(module);
        return ck_fail(err, "C_GetInfo", info_rv);
    }
    module->profile = profile_for(&module->info);
    return 0;
}

void module_stop(struct module *module)
{
    if (module->started)
        module_users_drop(module);
    module->started = false;
}

static int parse_uri(const char *text, P11KitUri **ret, struct kms_error *err)
{
    P11KitUri *const uri = p11_kit_uri_new();
    const char *wrong = NULL;
    const int parsed =
        uri ? p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri) : P11_KIT_URI_UNEXPECTED;

    if (parsed != P11_KIT_URI_OK)
        wrong = p11_kit_uri_message(parsed) ? p11_kit_uri_message(parsed) : "not a PKCS#11 URI";
    else if (p11_kit_uri_any_unrecognized(uri))
        wrong = "an attribute that is not known";
    else if (p11_kit_uri_get_pin_value(uri))
        wrong = "a PIN, which belongs into a file";
    if (wrong) {
        p11_kit_uri_free(uri);
        return kms_fail_detail(err, KMS_ERR_CONFIG, "token uri: %s", wrong);
    }
    *ret = uri;
    return 0;
}

/* Counts the initialised tokens that match; remembers the last one. */
static int match_slots(struct module *module, P11KitUri *uri, unsigned *ret, struct kms_error *err)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    unsigned found = 0;
    const CK_RV rv = module->list->C_GetSlotList(CK_TRUE, slots, &count);

    if (rv != CKR_OK)
        return ck_fail(err, "C_GetSlotList", rv);
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO token = { 0 };

        /* a slot that cannot say what it holds does not hold our token */
        if (module->list->C_GetTokenInfo(slots[i], &token) != CKR_OK ||
            !(token.flags & CKF_TOKEN_INITIALIZED) || !p11_kit_uri_match_token_info(uri, &token))
            continue;
        module->slot = slots[i];
        module->token = token;
        found++;
    }
    *ret = found;
    return 0;
}

static int search(struct module *module, P11KitUri *uri, struct kms_error *err)
{
    unsigned found = 0;

    for (int i = 0; found == 0 && i < SEARCH_TRIES; i++) {
        if (i > 0) {
            module_stop(module);
            (void)nanosleep(&(struct timespec){ .tv_nsec = SEARCH_WAIT_MS * 1000000L }, NULL);
            if (module_start(module, err) < 0)
                return -1;
        }
        if (match_slots(module, uri, &found, err) < 0)
            return -1;
    }
    if (found != 1)
        return kms_fail_detail(err, KMS_ERR_TOKEN_MISSING, "%s tokens match %s",
                               found ? "several" : "no", module->uri);
    return module_users_claim(module, err);
}

int module_find_token(struct module *module, struct kms_error *err)
{
    P11KitUri *uri = NULL;

    if (parse_uri(module->uri, &uri, err) < 0)
        return -1;
    const int found = search(module, uri, err);
    p11_kit_uri_free(uri);
    return found;
}

int module_token_flags(const struct module *module, CK_FLAGS *ret, struct kms_error *err)
{
    CK_TOKEN_INFO token = { 0 };
    const CK_RV rv = module->list->C_GetTokenInfo(module->slot, &token);

    if (rv != CKR_OK)
        return ck_fail(err, "C_GetTokenInfo", rv);
    *ret = token.flags;
    return 0;
}
