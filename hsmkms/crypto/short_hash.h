#pragma once

/*
 * A keyed 64-bit hash for hash tables whose keys come from clients: without the key nobody can
 * choose texts that meet in one place. Not for authentication.
 *
 * Source: Aumasson, Bernstein, SipHash: a fast short-input PRF (SipHash-2-4), by libsodium.
 */

#include "hsmkms/base/span.h"

struct short_hash_key {
    uint8_t bytes[16];
};

/* A random key. */
struct short_hash_key short_hash_key_random(void);

uint64_t short_hash(const struct short_hash_key *key, struct span bytes);
