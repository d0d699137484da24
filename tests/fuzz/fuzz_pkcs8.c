/* pkcs8_parse: what is accepted lies inside the input, and its numbers are never empty. */

#include <stdlib.h>

#include "hsmkms/crypto/pkcs8_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static void inside(struct span part, struct span whole)
{
    demand(part.len > 0 && part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
}

static void check(enum public_kind kind, const struct private_numbers *numbers, struct span der)
{
    if (kind != PUBLIC_RSA) {
        inside(numbers->scalar, der);
        if (numbers->point.len)
            inside(numbers->point, der);
        return;
    }
    const struct span parts[] = { numbers->modulus,   numbers->public_exponent, numbers->exponent,
                                  numbers->prime1,    numbers->prime2,          numbers->exponent1,
                                  numbers->exponent2, numbers->coefficient };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        inside(parts[i], der);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct span der = span_of(data, size);

    for (enum public_kind kind = 0; kind < PUBLIC_KINDS; kind++) {
        struct kms_error err = { 0 };
        struct private_numbers numbers;

        if (pkcs8_parse(kind, der, &numbers, &err) == 0)
            check(kind, &numbers, der);
        else
            demand(err.code == KMS_ERR_VALIDATION && err.message[0] == '\0');
    }
    return 0;
}
