#pragma once

/*
 * The configuration: one file written by hand, sections and names as in settings.def, nothing
 * else. An unknown section or name, a value out of range or a second value for one name is an
 * error that says where. Read once at start (and at reload into a second struct); read-only
 * afterwards, so any thread may read it.
 */

#include "hsmkms/base/error.h"
#include "hsmkms/base/span.h"

/* A further token: the section [token.NAME]. */
struct token_settings {
    char *name;
#define TOKEN_TEXT(name, preset, help)                char *name;
#define TOKEN_INT(name, unit, min, max, preset, help) int64_t name;
#define TOKEN_BOOL(name, preset, help)                bool name;
#include "hsmkms/base/settings_token.def"
#undef TOKEN_TEXT
#undef TOKEN_INT
#undef TOKEN_BOOL
};

/* Most further tokens. Source: AWS KMS Developer Guide, Resource quotas: 10 custom key stores. */
#define SETTINGS_TOKENS_MAX 10

struct settings {
    struct token_settings tokens[SETTINGS_TOKENS_MAX];
    size_t token_count;
#define SETTING_TEXT(section, name, preset, help)                char *section##_##name;
#define SETTING_INT(section, name, unit, min, max, preset, help) int64_t section##_##name;
#define SETTING_BOOL(section, name, preset, help)                bool section##_##name;
#include "hsmkms/base/settings.def"
#undef SETTING_TEXT
#undef SETTING_INT
#undef SETTING_BOOL
};

/* Reads a file. ret in its zero state. Errors: CONFIG; message names file, line and setting. */
CHECKED int settings_load(const char *path, struct settings *ret, struct kms_error *err);

/* The same from memory; what the fuzzer and the tests call. */
CHECKED int settings_parse(struct span text, struct settings *ret, struct kms_error *err);

/* Writes every row with its value, unit and default. No secret is a setting, so none is printed. */
void settings_print(const struct settings *settings, int fd);

/* Writes the table of settings as Markdown: what docs/SETTINGS.md is made of. */
void settings_print_reference(int fd);

void settings_done(struct settings *settings);
