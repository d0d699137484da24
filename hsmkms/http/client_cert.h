#pragma once

/*
 * The facts of one client certificate, counted: the connection that it came by holds a reference,
 * and so does each of its requests, which may live longer. Says nothing about trust.
 *
 * Threads: any.
 */

#include "hsmkms/base/span.h"
#include "hsmkms/http/server.h"

#define CLIENT_CERT_SANS     64   /* names in a certificate that is accepted */
#define CLIENT_CERT_TEXT_LEN 2048 /* the longest of them, and of the subject */

struct client_cert;

/*
 * Reads one DER certificate. NULL: malformed, more or longer names than above, a name with a NUL
 * byte, a key that costs too much to verify with (RSA beyond 8192 bits or with a public exponent
 * beyond 64 bits) or proves nothing (RSA below 2048 bits), or no memory.
 */
struct client_cert *client_cert_new(struct span der, bool verified);

/* What it says, valid while a reference is held. */
const struct http_client_cert *client_cert_facts(const struct client_cert *cert);

struct client_cert *client_cert_ref(struct client_cert *cert); /* the same; accepts NULL */
void client_cert_unref(struct client_cert *cert);              /* accepts NULL */
