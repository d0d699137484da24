/*
 * Prints what a token can do for this service, a row each, found by trying:
 *
 *   token_capability NAME MODULE URI PIN-FILE STATE-DIR strict|accept [INIT-ARGS]
 *
 *   token-capability token=NAME spec=RSA_2048 usage=SIGN_VERIFY can=yes
 *   token-capability token=NAME refused="..."        the service does not start with it
 *
 * accept: as with token.accept_extractable. Exit status 1 for what went wrong otherwise.
 */

#include <stdio.h>
#include <string.h>

#include "hsmkms/keys/keyspec.h"
#include "pkcs11/token.h"

enum { NAME = 1, MODULE, URI, PIN_FILE, STATE_DIR, STRICTNESS, INIT_ARGS };

static int failed(const char *name, const struct kms_error *err)
{
    fprintf(stderr, "%s: %s (%s)\n", name, err->message, err->detail);
    return 1;
}

static int print_row(struct token *token, const char *name, const struct keyspec *spec,
                     enum spec_usage usage)
{
    struct kms_error err = { 0 };
    bool can = spec->type == SPEC_AES; /* else it was not opened */

    if (spec->type == SPEC_UNOFFERED || !keyspec_allows(spec, usage))
        return 0;
    if (spec->type != SPEC_AES && keyspec_supported(token, spec, usage, &can, &err) < 0)
        return failed(name, &err);
    printf("token-capability token=%s spec=%s usage=%s can=%s\n", name, spec->name,
           spec_usage_text(usage), can ? "yes" : "no");
    return 0;
}

static int print_rows(struct token *token, const char *name)
{
    int status = 0;

    for (size_t i = 0; i < keyspec_count; i++)
        for (enum spec_usage usage = 0; usage < SPEC_USAGES; usage++)
            status |= print_row(token, name, &keyspecs[i], usage);
    return status;
}

int main(int argc, char **argv)
{
    struct kms_error err = { 0 };
    struct token *token = NULL;
    int status = 0;

    if (argc < INIT_ARGS)
        return 2;
    const struct token_config config = { .module = argv[MODULE],
                                         .uri = argv[URI],
                                         .init_args = argc > INIT_ARGS ? argv[INIT_ARGS] : "",
                                         .pin_file = argv[PIN_FILE],
                                         .state_dir = argv[STATE_DIR],
                                         .sessions = 2,
                                         .call_time_ms = 60000,
                                         .accept_extractable = !strcmp(argv[STRICTNESS], "accept") };

    if (token_open(&config, &token, &err) == 0)
        status = print_rows(token, argv[NAME]);
    else if (err.code == KMS_ERR_TOKEN_UNSUITABLE)
        printf("token-capability token=%s refused=\"%s\"\n", argv[NAME], err.message);
    else
        status = failed(argv[NAME], &err);
    token_close(token);
    return status;
}
