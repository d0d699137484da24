#pragma once

/* Words the whole project uses on declarations; knows nothing else. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A result that must be looked at. */
#define CHECKED __attribute__((warn_unused_result))

/* A local that releases itself: AUTO(secret) s = { 0 }; calls secret_done(&s). */
#define AUTO(type) __attribute__((cleanup(type##_done))) struct type

#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* offsetof that does not compile when the member has another type than the row says. */
#define OFFSET_OF_TYPE(S, member, T)                                                               \
    (offsetof(S, member) + 0 * sizeof(_Generic(((S *)0)->member, T: 1)))

/* Adds two sizes that came from outside; false when the sum does not fit. */
static inline bool size_add(size_t a, size_t b, size_t *ret_sum)
{
    return !__builtin_add_overflow(a, b, ret_sum);
}

/* A large local that is filled before it is read: hardened builds zero every other one. */
#define UNINITIALIZED __attribute__((uninitialized))
