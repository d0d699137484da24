#include "pkcs11/ck_error.h"

/* clang-format off */
static const struct {
    CK_RV rv;
    const char *name;
    enum ck_class class;
} rows[] = {
#define ROW(name, class) { name, #name, class }
    ROW(CKR_OK,                             RV_OK),
    ROW(CKR_ENCRYPTED_DATA_INVALID,         RV_CIPHERTEXT),
    ROW(CKR_ENCRYPTED_DATA_LEN_RANGE,       RV_CIPHERTEXT),

    /* only our own proofs verify anything in the token */
    ROW(CKR_SIGNATURE_INVALID,              RV_CIPHERTEXT),
    ROW(CKR_SIGNATURE_LEN_RANGE,            RV_CIPHERTEXT),

    /* SoftHSM 2.6 answers a bad tag with the first, nShield with the second */
    ROW(CKR_GENERAL_ERROR,                  RV_DOUBT),
    ROW(CKR_FUNCTION_FAILED,                RV_DOUBT),
    ROW(CKR_DATA_INVALID,                   RV_DOUBT),

    ROW(CKR_SESSION_HANDLE_INVALID,         RV_SESSION),
    ROW(CKR_SESSION_CLOSED,                 RV_SESSION),
    ROW(CKR_OBJECT_HANDLE_INVALID,          RV_HANDLE),
    ROW(CKR_KEY_HANDLE_INVALID,             RV_HANDLE),
    ROW(CKR_USER_NOT_LOGGED_IN,             RV_LOGIN),

    ROW(CKR_DEVICE_ERROR,                   RV_DEVICE),
    ROW(CKR_DEVICE_REMOVED,                 RV_DEVICE),
    ROW(CKR_TOKEN_NOT_PRESENT,              RV_DEVICE),
    ROW(CKR_TOKEN_NOT_RECOGNIZED,           RV_DEVICE),
    ROW(CKR_SLOT_ID_INVALID,                RV_DEVICE),
    ROW(CKR_FUNCTION_CANCELED,              RV_DEVICE),
    ROW(CKR_CRYPTOKI_NOT_INITIALIZED,       RV_RESET),

    ROW(CKR_HOST_MEMORY,                    RV_MEMORY),
    ROW(CKR_DEVICE_MEMORY,                  RV_MEMORY),
    ROW(CKR_SESSION_COUNT,                  RV_MEMORY),

    ROW(CKR_PIN_INCORRECT,                  RV_PIN),
    ROW(CKR_PIN_INVALID,                    RV_PIN),
    ROW(CKR_PIN_LEN_RANGE,                  RV_PIN),
    ROW(CKR_PIN_EXPIRED,                    RV_PIN),
    ROW(CKR_PIN_LOCKED,                     RV_PIN),
    ROW(CKR_USER_PIN_NOT_INITIALIZED,       RV_PIN),

    ROW(CKR_RANDOM_NO_RNG,                  RV_RANDOM),

    ROW(CKR_ACTION_PROHIBITED,              RV_BUG),
    ROW(CKR_ARGUMENTS_BAD,                  RV_BUG),
    ROW(CKR_ATTRIBUTE_READ_ONLY,            RV_BUG),
    ROW(CKR_ATTRIBUTE_SENSITIVE,            RV_BUG),
    ROW(CKR_ATTRIBUTE_TYPE_INVALID,         RV_BUG),
    ROW(CKR_ATTRIBUTE_VALUE_INVALID,        RV_BUG),
    ROW(CKR_BUFFER_TOO_SMALL,               RV_BUG),
    ROW(CKR_CURVE_NOT_SUPPORTED,            RV_BUG),
    ROW(CKR_DATA_LEN_RANGE,                 RV_BUG),
    ROW(CKR_DOMAIN_PARAMS_INVALID,          RV_BUG),
    ROW(CKR_FUNCTION_NOT_SUPPORTED,         RV_BUG),
    ROW(CKR_KEY_FUNCTION_NOT_PERMITTED,     RV_BUG),
    ROW(CKR_KEY_NOT_WRAPPABLE,              RV_BUG),
    ROW(CKR_KEY_SIZE_RANGE,                 RV_BUG),
    ROW(CKR_KEY_TYPE_INCONSISTENT,          RV_BUG),
    ROW(CKR_KEY_UNEXTRACTABLE,              RV_BUG),
    ROW(CKR_MECHANISM_INVALID,              RV_BUG),
    ROW(CKR_MECHANISM_PARAM_INVALID,        RV_BUG),
    ROW(CKR_OPERATION_ACTIVE,               RV_BUG),
    ROW(CKR_OPERATION_NOT_INITIALIZED,      RV_BUG),
    ROW(CKR_SESSION_READ_ONLY,              RV_BUG),
    ROW(CKR_TEMPLATE_INCOMPLETE,            RV_BUG),
    ROW(CKR_TEMPLATE_INCONSISTENT,          RV_BUG),
    ROW(CKR_TOKEN_WRITE_PROTECTED,          RV_BUG),
    ROW(CKR_WRAPPING_KEY_HANDLE_INVALID,    RV_BUG),
    ROW(CKR_WRAPPING_KEY_SIZE_RANGE,        RV_BUG),
    ROW(CKR_WRAPPING_KEY_TYPE_INCONSISTENT, RV_BUG),
#undef ROW
};

static const struct ck_rule rules[RV_CLASSES] = {
    /* what got lost is made anew, and may get lost again; what is ill is asked once more */
    /*                  if it stays so              retries  trips  */
    [RV_OK]         = { KMS_ERR_NONE,               0,       false },
    [RV_CIPHERTEXT] = { KMS_ERR_INVALID_CIPHERTEXT, 0,       false },
    [RV_DOUBT]      = { KMS_ERR_KEY_UNAVAILABLE,    1,       true  },
    [RV_SESSION]    = { KMS_ERR_KEY_UNAVAILABLE,    3,       true  },
    [RV_HANDLE]     = { KMS_ERR_KEY_UNAVAILABLE,    3,       false },
    [RV_LOGIN]      = { KMS_ERR_KEY_UNAVAILABLE,    3,       true  },
    [RV_DEVICE]     = { KMS_ERR_KEY_UNAVAILABLE,    1,       true  },
    [RV_RESET]      = { KMS_ERR_KEY_UNAVAILABLE,    1,       true  },
    [RV_MEMORY]     = { KMS_ERR_KEY_UNAVAILABLE,    0,       false },
    [RV_PIN]        = { KMS_ERR_KEY_UNAVAILABLE,    0,       true  },
    [RV_RANDOM]     = { KMS_ERR_KEY_UNAVAILABLE,    0,       false },
    [RV_BUG]        = { KMS_ERR_INTERNAL,           1,       false },
};
/* clang-format on */

static size_t row_of(CK_RV rv)
{
    size_t i = 0;

    while (i < ARRAY_LEN(rows) && rows[i].rv != rv)
        i++;
    return i;
}

enum ck_class ck_class(CK_RV rv)
{
    const size_t row = row_of(rv);

    return row < ARRAY_LEN(rows) ? rows[row].class : RV_DEVICE;
}

const struct ck_rule *ck_rule(enum ck_class class)
{
    return &rules[class];
}

const char *ck_name(CK_RV rv)
{
    const size_t row = row_of(rv);

    return row < ARRAY_LEN(rows) ? rows[row].name : "CKR_?";
}

int ck_fail(struct kms_error *err, const char *function, CK_RV rv)
{
    return kms_fail_detail(err, rules[ck_class(rv)].code, "%s: %s (0x%lx)", function, ck_name(rv),
                           (unsigned long)rv);
}
