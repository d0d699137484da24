#pragma once

/*
 * The commands of operators as rows that the daemon and hsmkms-admin share: which fields a command
 * has, how they are given on a command line, and how the audit trail calls it. Pure data.
 */

#include "hsmkms/base/attrs.h"

#define ADMIN_FIELDS_MAX 8 /* of a command */

/* Where the value of a field comes from on the command line. */
enum admin_source {
    ADMIN_TEXT, /* the word itself */
    ADMIN_FILE, /* the content of the file it names; "-": standard input */
    ADMIN_FLAG, /* the option is there: "true" */
    ADMIN_LIST, /* an option that may be repeated: an array of its words */
};

struct admin_field {
    const char *name;   /* in requests and, with a small letter, in the audit trail */
    const char *option; /* "--user" without the dashes */
    const char *word;   /* what a synopsis shows: "NAME" */
    enum admin_source source;
    size_t max; /* bytes; of each element of a list */
};
extern const struct admin_field admin_fields[];
extern const size_t admin_field_count;

struct admin_row {
    const char *name;       /* one or two words */
    const char *event;      /* audited as this; NULL: changes nothing */
    const char *words[3];   /* fields in order behind the name; all are required */
    const char *options[ADMIN_FIELDS_MAX]; /* fields given by options; none is required here */
    const char *help;
};
extern const struct admin_row admin_rows[];
extern const size_t admin_row_count;

/* The row of a name, or NULL. */
const struct admin_row *admin_row_find(const char *name);
const struct admin_field *admin_field_find(const char *name);

/* Whether a command has a field, by word or option. */
CHECKED bool admin_row_has(const struct admin_row *row, const char *field);
