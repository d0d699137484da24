/* hsmkms-admin init: makes an installation, offline. See kms_init(). */

#include "hsmkms/admin_init.h"

#include <stdio.h>
#include <unistd.h>

#include "hsmkms/kms.h"

/* The one time that the first secret can be seen; into the pipe or terminal the operator chose. */
static int print_access_key(const struct kms *kms, const char *id, const struct secret *secret,
                            struct kms_error *err)
{
    AUTO(buf) text = { 0 };

    buf_printf(&text, "{\n  \"AccessKeyId\": \"%s\",\n  \"SecretAccessKey\": \"", id);
    buf_append(&text, secret_span(secret));
    buf_printf(&text, "\",\n  \"Arn\": \"arn:aws:iam::%s:root\"\n}\n",
               kms->settings.service_account);
    if (buf_check(&text, err) < 0)
        return -1;
    const ssize_t written = write(STDOUT_FILENO, text.ptr, text.len);
    const bool whole = written >= 0 && (size_t)written == text.len;
    secret_wipe(text.ptr, text.len);
    return whole ? 0
                 : kms_fail(err, KMS_ERR_INTERNAL,
                            "the access key was made but could not be printed; make another one "
                            "with hsmkms-admin key create");
}

static int init(const char *config_path, struct kms *kms, struct kms_error *err)
{
    char id[21];
    AUTO(secret) secret = { 0 };

    if (kms_configure(config_path, kms, err) < 0 || kms_harden(kms, err) < 0 ||
        kms_init(kms, id, &secret, err) < 0)
        return -1;
    return print_access_key(kms, id, &secret, err);
}

int cmd_init(int argc, char **argv)
{
    if (argc != 3 || strcmp(argv[1], "--config") != 0) {
        (void)fprintf(stderr, "usage: hsmkms-admin init --config FILE\n");
        return EXIT_CONFIG;
    }
    struct kms_error err = { 0 };
    struct kms kms = { .lock_fd = -1 };

    const int made = init(argv[2], &kms, &err);
    kms_done(&kms);
    if (made == 0)
        return EXIT_OK;
    (void)fprintf(stderr, "hsmkms-admin: init: %s: %s%s%s\n", kms_err_name(err.code), err.message,
                  err.message[0] && err.detail[0] ? ": " : "", err.detail);
    return (int)kms_exit_code(&err);
}
