#pragma once

/*
 * The transit dialect: the part of HashiCorp Vault's HTTP API that S3 gateways and other clients of
 * Vault's transit secrets engine use, under /v1/. A front door without key logic: a request becomes
 * operations of api/, and who asks is a principal like any other, known by a token or by a verified
 * client certificate.
 *
 *   key name              key id, or an alias without "alias/" with dots in place of its slashes
 *   "vault:v<N>:..."      N is the number of the key's version, behind it the blob of api/
 *   context               becomes the encryption context, see transit_text.h
 *
 * A key's tags say what of this dialect api/ does not know:
 *
 *   hsmkms:transit-context    "required" (made with derived): no operation without a context;
 *                             "ignored": a context counts for nothing, as Vault has it for keys
 * that are not derived; absent: a context that is sent is bound hsmkms:transit-deletion "allowed":
 * DELETE schedules the deletion of the key
 *
 * Source: HashiCorp Vault HTTP API, Transit secrets engine, AppRole auth method, Token auth method.
 */

#include "hsmkms/api/api.h"
#include "hsmkms/doors/door_health.h"
#include "hsmkms/http/server.h"

#define TRANSIT_CONTEXT_TAG  "hsmkms:transit-context"
#define TRANSIT_DELETION_TAG "hsmkms:transit-deletion"

/* The context of the door; read-only while the server runs. */
struct door_transit {
    struct api *api;
    struct iam *iam;
    struct keyring *keyring;
    const struct clock *clock;
    const struct log *log;
    struct door_health *health;
    const char *mounts; /* blank-separated */
    int64_t deletion_days, login_s;
};

/* Whether blank-separated names can be mounts. Errors: CONFIG. */
CHECKED int door_transit_check_mounts(const char *mounts, struct kms_error *err);

extern const struct door door_transit;
