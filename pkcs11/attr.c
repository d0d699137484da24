#include "pkcs11/attr.h"

#include <assert.h>

static const struct {
    CK_ATTRIBUTE_TYPE type;
    const char *name;
} names[] = {
#define NAME(type)                                                                                 \
    {                                                                                              \
        type, #type                                                                                \
    }
    NAME(CKA_CLASS),
    NAME(CKA_KEY_TYPE),
    NAME(CKA_VALUE_LEN),
    NAME(CKA_TOKEN),
    NAME(CKA_PRIVATE),
    NAME(CKA_SENSITIVE),
    NAME(CKA_EXTRACTABLE),
    NAME(CKA_MODIFIABLE),
    NAME(CKA_ENCRYPT),
    NAME(CKA_DECRYPT),
    NAME(CKA_SIGN),
    NAME(CKA_SIGN_RECOVER),
    NAME(CKA_VERIFY),
    NAME(CKA_WRAP),
    NAME(CKA_UNWRAP),
    NAME(CKA_DERIVE),
    NAME(CKA_LOCAL),
    NAME(CKA_ALWAYS_SENSITIVE),
    NAME(CKA_NEVER_EXTRACTABLE),
    NAME(CKA_ID),
    NAME(CKA_ALLOWED_MECHANISMS),
    NAME(CKA_LABEL),
#undef NAME
};

static CK_ATTRIBUTE *next(struct attrs *attrs)
{
    assert(attrs->count < ATTRS_MAX);
    return &attrs->list[attrs->count++];
}

void attrs_bool(struct attrs *attrs, CK_ATTRIBUTE_TYPE type, bool value)
{
    CK_BBOOL *const yes = &attrs->values[attrs->count].yes;

    *yes = value ? CK_TRUE : CK_FALSE;
    *next(attrs) = (CK_ATTRIBUTE){ type, yes, sizeof(*yes) };
}

void attrs_ulong(struct attrs *attrs, CK_ATTRIBUTE_TYPE type, CK_ULONG value)
{
    CK_ULONG *const number = &attrs->values[attrs->count].number;

    *number = value;
    *next(attrs) = (CK_ATTRIBUTE){ type, number, sizeof(*number) };
}

void attrs_bytes(struct attrs *attrs, CK_ATTRIBUTE_TYPE type, struct span bytes)
{
    /* pValue is not const because C_GetAttributeValue shares the struct; templates are only read */
    *next(attrs) = (CK_ATTRIBUTE){ type, (void *)bytes.ptr, bytes.len };
}

void attrs_room(struct attrs *attrs, CK_ATTRIBUTE_TYPE type, void *room, size_t len)
{
    *next(attrs) = (CK_ATTRIBUTE){ type, room, len };
}

bool attr_same(const CK_ATTRIBUTE *got, const CK_ATTRIBUTE *want)
{
    return got->ulValueLen == want->ulValueLen &&
           memcmp(got->pValue, want->pValue, want->ulValueLen) == 0;
}

bool attr_flag_is(const CK_ATTRIBUTE *got, bool expected)
{
    return got->ulValueLen == sizeof(CK_BBOOL) && (*(const CK_BBOOL *)got->pValue != 0) == expected;
}

const char *attr_name(CK_ATTRIBUTE_TYPE type)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].type == type)
            return names[i].name;
    return "CKA_?";
}
