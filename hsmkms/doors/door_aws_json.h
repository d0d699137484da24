#pragma once

/*
 * The AWS KMS dialect: JSON 1.1 over POST /, signed by Signature Version 4. Authenticates, finds
 * the operation's name, hands its parameters to api/ and writes down the answer; knows nothing of
 * what an operation does.
 *
 * Source: AWS KMS API Reference; Smithy 2.0, AWS JSON 1.1 protocol.
 */

#include "hsmkms/doors/aws_call.h"

/* Its context is a struct door_aws, like that of the one below. */
extern const struct door door_aws_json;

/*
 * The last row of a listener: whatever no other door wants is answered 404, or 405 for another
 * method on "/", in the words of the dialect. Paths of newer AWS protocols end here.
 */
extern const struct door door_aws_rest;
