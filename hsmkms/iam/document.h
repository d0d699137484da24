#pragma once

/*
 * A policy document as the directory keeps it: the text as it was given, its compiled form, and for
 * a trust policy the unique ids of those it names. Immutable and counted, so that a change of
 * something else carries it over without compiling it again.
 */

#include "hsmkms/base/buf.h"
#include "hsmkms/iam/policy.h"

struct document {
    atomic_uint references;
    char *text;
    char *pins;    /* trust policies: JSON {ARN: unique id}; NULL for others */
    size_t weight; /* characters of the text, white space not counted: what quotas limit */
    struct policy *policy;
};

struct document *document_ref(struct document *document);
void document_unref(struct document *document); /* accepts NULL */

/* Characters of a UTF-8 text without its white space. */
size_t document_weight(const char *text);

/*
 * Compiles a text that somebody gave. book: for trust policies, NULL for others.
 *
 * ret      a reference
 * Errors:  MALFORMED_POLICY; INTERNAL
 */
CHECKED int document_compile(const char *text, enum policy_kind kind,
                             const struct principal_book *book, struct document **ret,
                             struct kms_error *err);

/*
 * Compiles a text as it was stored: whoever was named then is meant now, whatever the directory
 * says of that name today.
 *
 * pins     as in struct document
 * Errors:  INTEGRITY (it does not compile); INTERNAL
 */
CHECKED int document_load(const char *text, enum policy_kind kind, const char *pins,
                          struct document **ret, struct kms_error *err);
