#pragma once

/*
 * The tokens behind custom key stores, as /health and /metrics show them: each is probed and
 * counted by itself. One that does not answer takes its own keys away and not the service, so it
 * turns nothing else red.
 */

#include "hsmkms/keys/key_store.h"

struct health_stores;

CHECKED int health_stores_new(const struct keyring *keyring, int64_t cache_ms,
                              struct health_stores **ret, struct kms_error *err);
void health_stores_free(struct health_stores *stores); /* accepts NULL */

/*
 * Appends ,"stores":{"CLUSTER":"STATE", ...}, or nothing where there are no stores. A state is ok,
 * slow, unavailable or probe failed for a connected one, else disconnected, connecting or failed.
 */
void health_stores_write(struct health_stores *stores, struct buf *ret);

/* Samples that belong to the family of a metric, labelled token="CLUSTER". */
typedef double health_stores_read_fn(const struct token_status *status);
void health_stores_samples(struct health_stores *stores, const char *name,
                           health_stores_read_fn *read, struct buf *ret);
