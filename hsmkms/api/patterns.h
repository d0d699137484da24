#pragma once

/*
 * What the texts of a request may consist of: small hand-written checks, each beside the regular
 * expression that AWS's constraint messages show for it. Pure functions over UTF-8.
 *
 * Source: AWS KMS API Reference, request parameters of each operation.
 */

#include "hsmkms/base/span.h"

struct pattern {
    const char *text;              /* as ValidationException shows it */
    bool (*allows)(uint32_t code); /* one character of the text */
    bool (*fits)(struct span text); /* the whole of it, its characters allowed; NULL: always */
};

extern const struct pattern pattern_alias;       /* AliasName */
extern const struct pattern pattern_marker;      /* Marker */
extern const struct pattern pattern_policy;      /* Policy */
extern const struct pattern pattern_policy_name; /* PolicyName */
extern const struct pattern pattern_material_id; /* KeyMaterialId */
extern const struct pattern pattern_description; /* KeyMaterialDescription */

extern const struct pattern pattern_region; /* ReplicaRegion, PrimaryRegion */

extern const struct pattern pattern_grant_name;   /* Name of a grant */
extern const struct pattern pattern_principal;    /* GranteePrincipal, RetiringPrincipal */
extern const struct pattern pattern_session_name; /* RoleSessionName, SourceIdentity */
extern const struct pattern pattern_external_id;  /* ExternalId */
extern const struct pattern pattern_service;      /* GranteeServicePrincipal and its like */
extern const struct pattern pattern_xks_key;      /* XksKeyId */

CHECKED bool pattern_matches(const struct pattern *pattern, struct span text);

/* Takes one character off valid UTF-8; false at the end. */
CHECKED bool utf8_take(struct span *text, uint32_t *ret);
size_t utf8_length(struct span text); /* characters */

/* Bytes of the longest part of valid UTF-8 that fits into most bytes and ends at a character. */
size_t utf8_fit(struct span text, size_t most);
