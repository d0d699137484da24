#include "hsmkms/base/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

enum setting_kind { SETTING_IS_TEXT, SETTING_IS_INT, SETTING_IS_BOOL };

struct setting {
    const char *section, *name;
    enum setting_kind kind;
    size_t offset;
    const char *unit, *help, *text_preset;
    int64_t min, max, preset;
};

#define AT(section, name, T) OFFSET_OF_TYPE(struct settings, section##_##name, T)

static const struct setting rows[] = {
#define SETTING_TEXT(section, name, preset, help)                                                  \
    { #section, #name, SETTING_IS_TEXT, AT(section, name, char *), "text", help, preset, 0, 0, 0 },
#define SETTING_INT(section, name, unit, min, max, preset, help)                                   \
    { #section, #name, SETTING_IS_INT, AT(section, name, int64_t), unit, help, NULL,               \
      min,      max,   preset },
#define SETTING_BOOL(section, name, preset, help)                                                  \
    {                                                                                              \
        #section, #name, SETTING_IS_BOOL, AT(section, name, bool), "yes/no", help, NULL,           \
        0,        1,     preset                                                                    \
    },
#include "hsmkms/base/settings.def"
#undef SETTING_TEXT
#undef SETTING_INT
#undef SETTING_BOOL
};

/* The same of struct token_settings. */
#define AT_TOKEN(name, T) OFFSET_OF_TYPE(struct token_settings, name, T)

static const struct setting token_rows[] = {
#define TOKEN_TEXT(name, preset, help)                                                             \
    { "token", #name, SETTING_IS_TEXT, AT_TOKEN(name, char *), "text", help, preset, 0, 0, 0 },
#define TOKEN_INT(name, unit, min, max, preset, help)                                              \
    { "token", #name, SETTING_IS_INT, AT_TOKEN(name, int64_t), unit, help, NULL, min, max, preset },
#define TOKEN_BOOL(name, preset, help)                                                             \
    { "token", #name, SETTING_IS_BOOL, AT_TOKEN(name, bool), "yes/no", help, NULL, 0, 1, preset },
#include "hsmkms/base/settings_token.def"
#undef TOKEN_TEXT
#undef TOKEN_INT
#undef TOKEN_BOOL
};

#define TOKEN_SECTION "token." /* and a name */

/* What the parser's callback needs: where values go and which rows have one already. */
struct reading {
    struct settings *settings;
    bool seen[ARRAY_LEN(rows)];
    bool token_seen[SETTINGS_TOKENS_MAX][ARRAY_LEN(token_rows)];
    struct kms_error *err;
};

/* into, of all below: struct settings for rows, struct token_settings for token_rows. */
static char **text_of(const void *into, const struct setting *row)
{
    return (char **)((uintptr_t)into + row->offset);
}

static int64_t *int_of(const void *into, const struct setting *row)
{
    return (int64_t *)((uintptr_t)into + row->offset);
}

static bool *bool_of(const void *into, const struct setting *row)
{
    return (bool *)((uintptr_t)into + row->offset);
}

static int set_text(void *into, const struct setting *row, const char *value, struct kms_error *err)
{
    char *const copy = strdup(value);

    if (copy == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory reading settings");
    free(*text_of(into, row));
    *text_of(into, row) = copy;
    return 0;
}

static int set_int(void *into, const struct setting *row, const char *value, struct kms_error *err)
{
    char *end = NULL;

    errno = 0;
    const long long number = strtoll(value, &end, 10);
    if (errno || end == value || *end != '\0' || number < row->min || number > row->max)
        return kms_fail(err, KMS_ERR_CONFIG,
                        "%s.%s must be a whole number of %s from %" PRId64 " to %" PRId64
                        ", not '%.40s'",
                        row->section, row->name, row->unit, row->min, row->max, value);
    *int_of(into, row) = number;
    return 0;
}

static int set_bool(void *into, const struct setting *row, const char *value, struct kms_error *err)
{
    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
        return kms_fail(err, KMS_ERR_CONFIG, "%s.%s must be yes or no, not '%.40s'", row->section,
                        row->name, value);
    *bool_of(into, row) = strcmp(value, "yes") == 0;
    return 0;
}

static int set(void *into, const struct setting *row, const char *value, struct kms_error *err)
{
    static int (*const setters[])(void *, const struct setting *, const char *,
                                  struct kms_error *) = {
        [SETTING_IS_TEXT] = set_text,
        [SETTING_IS_INT] = set_int,
        [SETTING_IS_BOOL] = set_bool,
    };
    return setters[row->kind](into, row, value, err);
}

static int set_presets(void *into, const struct setting *of, size_t count, struct kms_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (of[i].kind == SETTING_IS_INT)
            *int_of(into, &of[i]) = of[i].preset;
        else if (of[i].kind == SETTING_IS_BOOL)
            *bool_of(into, &of[i]) = of[i].preset != 0;
        else if (set_text(into, &of[i], of[i].text_preset, err) < 0)
            return -1;
    }
    return 0;
}

/* Place of a further token, new when it is named for the first time. Errors: CONFIG (too many). */
static int token_place(struct settings *settings, const char *name, size_t *ret,
                       struct kms_error *err)
{
    for (*ret = 0; *ret < settings->token_count; (*ret)++)
        if (strcmp(settings->tokens[*ret].name, name) == 0)
            return 0;
    if (settings->token_count == SETTINGS_TOKENS_MAX)
        return kms_fail(err, KMS_ERR_CONFIG, "more than %d sections [token.NAME]",
                        SETTINGS_TOKENS_MAX);
    struct token_settings *const added = &settings->tokens[*ret];
    added->name = strdup(name);
    if (added->name == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory reading settings");
    settings->token_count++;
    return set_presets(added, token_rows, ARRAY_LEN(token_rows), err);
}

/* Where the lines of one section go. */
struct target {
    void *into;
    const struct setting *rows;
    size_t count;
    bool *seen;          /* by row: it has a value already */
    const char *section; /* of the rows */
};

static int set_named(const struct target *target, const char *section, const char *name,
                     const char *value, struct kms_error *err)
{
    for (size_t i = 0; i < target->count; i++) {
        const struct setting *const row = &target->rows[i];
        if (strcmp(row->section, target->section) != 0 || strcmp(row->name, name) != 0)
            continue;
        if (target->seen[i])
            return kms_fail(err, KMS_ERR_CONFIG, "%s.%s is set twice", section, name);
        target->seen[i] = true;
        return set(target->into, row, value, err);
    }
    return kms_fail(err, KMS_ERR_CONFIG, "there is no setting %.40s.%.40s", section, name);
}

static int find_target(struct reading *reading, const char *section, struct target *ret,
                       struct kms_error *err)
{
    size_t place = 0;

    *ret = (struct target){ reading->settings, rows, ARRAY_LEN(rows), reading->seen, section };
    if (strncmp(section, TOKEN_SECTION, strlen(TOKEN_SECTION)) != 0)
        return 0;
    if (token_place(reading->settings, section + strlen(TOKEN_SECTION), &place, err) < 0)
        return -1;
    *ret = (struct target){ &reading->settings->tokens[place], token_rows, ARRAY_LEN(token_rows),
                            reading->token_seen[place], token_rows[0].section };
    return 0;
}

/* libinih's handler: 1 to go on, 0 to stop. */
static int take_line(void *arg, const char *section, const char *name, const char *value)
{
    struct reading *const reading = arg;
    struct target target;

    if (reading->err->code != KMS_ERR_NONE)
        return 0; /* the library reads on after an error; the first one is told */
    return find_target(reading, section, &target, reading->err) == 0 &&
           set_named(&target, section, name, value ? value : "", reading->err) == 0;
}

/*
 * Rows about client certificates that belong together. A setting that would silently do nothing is
 * refused: who wrote it believes to be protected by it.
 */
static int check_clients(const struct settings *s, struct kms_error *err)
{
    const char *const mode = s->https_client_certificates;
    const bool off = strcmp(mode, "off") == 0, required = strcmp(mode, "require") == 0;

    if (!off && !required && strcmp(mode, "request") != 0)
        return kms_fail(err, KMS_ERR_CONFIG,
                        "https.client_certificates must be off, request or require, not '%.40s'",
                        mode);
    if (!off && s->https_port == 0)
        return kms_fail(err, KMS_ERR_CONFIG, "https.client_certificates = %s needs https.port",
                        mode);
    if (required && s->https_client_ca[0] == '\0')
        return kms_fail(err, KMS_ERR_CONFIG,
                        "https.client_certificates = require needs https.client_ca");
    if (!required && (s->https_client_ca[0] || s->https_client_crl[0]))
        return kms_fail(err, KMS_ERR_CONFIG,
                        "https.client_%s is used only with https.client_certificates = require",
                        s->https_client_ca[0] ? "ca" : "crl");
    return 0;
}

/* A TLS key in a token needs a module and a PIN file, one in a file has no use for them. */
static int check_tls_key(const struct settings *s, struct kms_error *err)
{
    static const char scheme[] = "pkcs11:";
    const bool in_token = strncmp(s->https_key, scheme, sizeof(scheme) - 1) == 0;

    if (in_token && (!s->https_key_module[0] || !s->https_key_pin_file[0]))
        return kms_fail(err, KMS_ERR_CONFIG,
                        "https.key in a token needs https.key_module and https.key_pin_file");
    if (!in_token && (s->https_key_module[0] || s->https_key_pin_file[0]))
        return kms_fail(err, KMS_ERR_CONFIG, "https.key_%s is used only with a pkcs11: https.key",
                        s->https_key_module[0] ? "module" : "pin_file");
    if (strncmp(s->kes_key, scheme, sizeof(scheme) - 1) == 0)
        return kms_fail(err, KMS_ERR_CONFIG,
                        "kes.key must be a file; empty, kes uses the key of https");
    return 0;
}

int settings_parse(struct span text, struct settings *ret, struct kms_error *err)
{
    struct reading reading = { .settings = ret, .err = err };

    if (set_presets(ret, rows, ARRAY_LEN(rows), err) < 0)
        return -1;
    if (text.len && memchr(text.ptr, '\0', text.len))
        return kms_fail(err, KMS_ERR_CONFIG, "the configuration holds a NUL byte");

    char *const copy = malloc(text.len + 1);
    if (copy == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory reading settings");
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    const int line = ini_parse_string(copy, take_line, &reading);
    free(copy);

    if (line == 0)
        return check_clients(ret, err) < 0 ? -1 : check_tls_key(ret, err);
    if (err->code == KMS_ERR_NONE)
        return kms_fail(err, KMS_ERR_CONFIG, "line %d is neither [section] nor name = value", line);
    if (err->code == KMS_ERR_CONFIG) {
        char reason[sizeof(err->message)];
        memcpy(reason, err->message, sizeof(reason));
        (void)snprintf(err->message, sizeof(err->message), "line %d: %.900s", line, reason);
    }
    return -1;
}

int settings_load(const char *path, struct settings *ret, struct kms_error *err)
{
    char text[65536]; /* no configuration written by hand is longer */
    FILE *const file = fopen(path, "re");

    if (file == NULL)
        return kms_fail(err, KMS_ERR_CONFIG, "cannot open %s: %s", path, strerrordesc_np(errno));
    const size_t len = fread(text, 1, sizeof(text), file);
    const bool whole = len < sizeof(text) && !ferror(file);
    (void)fclose(file); /* read-only */
    if (!whole)
        return kms_fail(err, KMS_ERR_CONFIG, "cannot read %s, or it is larger than %zu bytes", path,
                        sizeof(text) - 1);
    return settings_parse(span_of(text, len), ret, err);
}

static void print_row(const void *from, const struct setting *row, int fd)
{
    if (row->kind == SETTING_IS_TEXT)
        (void)dprintf(fd, "%s = %s\n", row->name, *text_of(from, row));
    else if (row->kind == SETTING_IS_BOOL)
        (void)dprintf(fd, "%s = %s\n", row->name, *bool_of(from, row) ? "yes" : "no");
    else
        (void)dprintf(fd, "%s = %" PRId64 " ; %s\n", row->name, *int_of(from, row), row->unit);
}

void settings_print(const struct settings *settings, int fd)
{
    const char *section = "";

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct setting *const row = &rows[i];
        if (strcmp(section, row->section) != 0)
            (void)dprintf(fd, "%s[%s]\n", i ? "\n" : "", row->section);
        section = row->section;
        print_row(settings, row, fd);
    }
    for (size_t t = 0; t < settings->token_count; t++) {
        (void)dprintf(fd, "\n[" TOKEN_SECTION "%s]\n", settings->tokens[t].name);
        for (size_t i = 0; i < ARRAY_LEN(token_rows); i++)
            print_row(&settings->tokens[t], &token_rows[i], fd);
    }
}

void settings_print_reference(int fd)
{
    (void)dprintf(fd, "| setting | unit | from | to | default | meaning |\n"
                      "| --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct setting *const row = &rows[i];
        if (row->kind == SETTING_IS_INT)
            (void)dprintf(fd, "| %s.%s | %s | %" PRId64 " | %" PRId64 " | %" PRId64 " | %s |\n",
                          row->section, row->name, row->unit, row->min, row->max, row->preset,
                          row->help);
        else
            (void)dprintf(fd, "| %s.%s | %s | | | %s | %s |\n", row->section, row->name, row->unit,
                          row->kind == SETTING_IS_BOOL ? (row->preset ? "yes" : "no")
                                                       : row->text_preset,
                          row->help);
    }
    (void)dprintf(fd,
                  "| " TOKEN_SECTION "NAME.* | | | | | the settings of token once more, for the "
                  "token behind a custom key store; NAME is its CloudHsmClusterId, up to %d "
                  "such sections |\n",
                  SETTINGS_TOKENS_MAX);
}

void settings_done(struct settings *settings)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].kind == SETTING_IS_TEXT)
            free(*text_of(settings, &rows[i]));
    for (size_t t = 0; t < settings->token_count; t++) {
        free(settings->tokens[t].name);
        for (size_t i = 0; i < ARRAY_LEN(token_rows); i++)
            if (token_rows[i].kind == SETTING_IS_TEXT)
                free(*text_of(&settings->tokens[t], &token_rows[i]));
    }
    *settings = (struct settings){ 0 };
}
