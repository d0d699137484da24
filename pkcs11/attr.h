#pragma once

/*
 * Attribute templates that hold their own values: build with the typed functions, hand list and
 * count to the module. A template points into itself, so it is never copied.
 */

#include <p11-kit/pkcs11.h>

#include "hsmkms/base/span.h"

#define ATTRS_MAX 24

struct attrs {
    CK_ATTRIBUTE list[ATTRS_MAX];
    CK_ULONG count;
    union {
        CK_BBOOL yes;
        CK_ULONG number;
    } values[ATTRS_MAX];
};

void attrs_bool(struct attrs *attrs, CK_ATTRIBUTE_TYPE type, bool value);
void attrs_ulong(struct attrs *attrs, CK_ATTRIBUTE_TYPE type, CK_ULONG value);

/* Borrows bytes for the life of the template. */
void attrs_bytes(struct attrs *attrs, CK_ATTRIBUTE_TYPE type, struct span bytes);

/* A row to be filled by C_GetAttributeValue; room stays the caller's. */
void attrs_room(struct attrs *attrs, CK_ATTRIBUTE_TYPE type, void *room, size_t len);

/* True when C_GetAttributeValue filled this row with exactly what the same row of want holds. */
bool attr_same(const CK_ATTRIBUTE *got, const CK_ATTRIBUTE *want);

/* True when a flag was read and is as expected. */
bool attr_flag_is(const CK_ATTRIBUTE *got, bool expected);

/* "CKA_SENSITIVE"; types that this project does not use are "CKA_?". */
const char *attr_name(CK_ATTRIBUTE_TYPE type);
