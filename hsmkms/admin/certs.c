#include "hsmkms/admin/parts.h"
#include "hsmkms/iam/cert_binding.h"

/* Client certificates that stand for users. */

static int bind_certificate(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct cert_binding_draft draft = { .spki = admin_text(call, "Certificate"),
                                        .account = admin_account(call),
                                        .label = admin_text(call, "Label") };

    if (admin_need(call, "UserName", &draft.user_name, err) < 0 ||
        cert_bind(call->services->iam, &draft, err) < 0)
        return -1;
    return admin_answer(
        json_pack("{s:s, s:s}", "Certificate", draft.spki, "UserName", draft.user_name), ret, err);
}

static int unbind_certificate(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    const char *const spki = admin_text(call, "Certificate");

    if (cert_unbind(call->services->iam, spki, err) < 0)
        return -1;
    return admin_answer(json_pack("{s:s}", "Certificate", spki), ret, err);
}

/* The records, copied: their users are looked up when the lock is given back. */
static void append_binding(void *arg, const struct certificate_binding_record *record)
{
    (void)json_array_append_new(arg,
                                json_pack("{s:s, s:s, s:s, s:s}", "Certificate", record->spki, "Id",
                                          record->identity, "Label", record->label, "CreateDate",
                                          clock_iso8601(record->created_ms).text));
}

/* Adds name and ARN of the user, empty where there is none any more. */
static void name_user(struct iam *iam, json_t *item)
{
    const char *const id = json_string_value(json_object_get(item, "Id"));
    struct identity *const user = id ? directory_get(iam->directory, id) : NULL;

    (void)json_object_set_new(item, "UserName", json_string(user ? user->name : ""));
    (void)json_object_set_new(item, "Arn", json_string(user ? user->arn : ""));
    identity_unref(user);
}

static int list_certificates(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct iam *const iam = call->services->iam;
    json_t *const bindings = json_array();

    cert_binding_each(iam, append_binding, bindings);
    for (size_t i = 0; i < json_array_size(bindings); i++)
        name_user(iam, json_array_get(bindings, i));
    return admin_answer(json_pack("{s:o}", "Certificates", bindings), ret, err);
}

const struct admin_handler admin_cert_handlers[] = {
    { "cert bind", bind_certificate },
    { "cert unbind", unbind_certificate },
    { "cert list", list_certificates },
    { 0 },
};
