#include "hsmkms/base/encode.h"

#include <limits.h>

#include <openssl/evp.h>
#include <sodium.h>

#define BASE64 sodium_base64_VARIANT_ORIGINAL

void base64_format(char *text, struct span bytes)
{
    sodium_bin2base64(text, BASE64_LEN(bytes.len) + 1, bytes.ptr, bytes.len, BASE64);
}

void base64_append(struct buf *ret, struct span bytes)
{
    const size_t len = BASE64_LEN(bytes.len);
    uint8_t *const room = bytes.len <= INT_MAX ? buf_room(ret, len + 1) : NULL;

    if (room == NULL) {
        ret->failed = true;
        return;
    }
    (void)EVP_EncodeBlock(room, bytes.ptr, (int)bytes.len); /* public: speed before constant time */
    ret->len--;                                             /* the NUL stays beyond the end */
}

void hex_format(char *text, struct span bytes)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < bytes.len; i++) {
        *text++ = digits[bytes.ptr[i] >> 4];
        *text++ = digits[bytes.ptr[i] & 0x0f];
    }
    *text = '\0';
}

void hex_append(struct buf *ret, struct span bytes)
{
    uint8_t *const room = buf_room(ret, 2 * bytes.len + 1);

    if (room == NULL)
        return;
    hex_format((char *)room, bytes);
    ret->len--;
}

bool base64_size(struct span text, size_t *ret)
{
    if (text.len % 4 != 0)
        return false;

    size_t len = text.len / 4 * 3;
    if (text.len && text.ptr[text.len - 1] == '=')
        len--;
    if (text.len && text.ptr[text.len - 2] == '=')
        len--;
    *ret = len;
    return true;
}

/* libsodium 1.0.18 takes some bytes beyond ASCII for digits. */
static bool is_ascii(struct span text)
{
    uint8_t seen = 0;

    for (size_t i = 0; i < text.len; i++)
        seen |= text.ptr[i];
    return seen < 0x80;
}

bool base64_parse(struct span text, uint8_t *room, size_t len)
{
    size_t done = 0;
    const char *end = NULL;

    /* the library refuses blanks, missing or surplus padding and non-zero trailing bits */
    return is_ascii(text) &&
           sodium_base642bin(room, len, (const char *)text.ptr, text.len, NULL, &done, &end,
                             BASE64) == 0 &&
           done == len && end == (const char *)text.ptr + text.len;
}

static bool hex_digit_value(uint8_t digit, uint8_t *ret)
{
    if (digit >= '0' && digit <= '9')
        *ret = (uint8_t)(digit - '0');
    else if (digit >= 'a' && digit <= 'f')
        *ret = (uint8_t)(digit - 'a' + 10);
    else
        return false;
    return true;
}

bool hex_parse(struct span text, uint8_t *ret, size_t len)
{
    uint8_t high, low;

    if (text.len != 2 * len)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!hex_digit_value(text.ptr[2 * i], &high) || !hex_digit_value(text.ptr[2 * i + 1], &low))
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
