#include "hsmkms/api/violations.h"

#include <stdio.h>

#include "hsmkms/api/patterns.h"

#define SHOWN_MOST 256 /* bytes of a value in a message */

static void add_value(struct buf *text, struct shown shown)
{
    if (shown.kind == SHOWN_NULL) {
        buf_text(text, " null");
    } else if (shown.kind == SHOWN_TEXT) {
        buf_text(text, " '");
        buf_append(text, span_of(shown.text.ptr, utf8_fit(shown.text, SHOWN_MOST)));
        buf_text(text, "'");
    }
}

void violations_add(struct violations *violations, struct shown shown, const char *path,
                    const char *constraint, ...)
{
    struct buf *const text = &violations->text;
    char rule[1024];
    va_list args;

    va_start(args, constraint);
    (void)vsnprintf(rule, sizeof(rule), constraint, args); /* cut like the message it goes into */
    va_end(args);

    if (violations->count++ > 0)
        buf_text(text, "; ");
    buf_text(text, "Value");
    add_value(text, shown);
    buf_printf(text, " at '%s' failed to satisfy constraint: Member must %s", path, rule);
}

int violations_check(const struct violations *violations, struct kms_error *err)
{
    const struct span text = buf_span(&violations->text);

    if (violations->count == 0)
        return 0;
    if (buf_check(&violations->text, err) < 0)
        return -1;
    return kms_fail(err, KMS_ERR_VALIDATION, "%u validation error%s detected: %.*s",
                    violations->count, violations->count == 1 ? "" : "s",
                    (int)utf8_fit(text, sizeof(err->message) - 48), (const char *)text.ptr);
}

void violations_done(struct violations *violations)
{
    buf_done(&violations->text);
}
