#pragma once

/*
 * The AWS STS dialect: a form over POST /, signed by Signature Version 4 for the service "sts",
 * answered in XML. Knows nothing of what an operation does.
 *
 * Source: AWS STS API Reference; Smithy 2.0, AWS Query protocol.
 */

#include "hsmkms/doors/aws_call.h"

/* Its context is a struct door_aws. Stands in front of door_aws_json, which takes every POST /. */
extern const struct door door_sts;
