#include "hsmkms/audit/chain.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "hsmkms/base/encode.h"

#define RESULT_END_MAX 160 /* bytes from "phase" to the end of a line; longer ones are parsed */

/* What a line begins with, in the parts that the check tells apart. */
struct prefix {
    char seq[sizeof("{\"seq\":18446744073709551615,")];
    char prev[sizeof("\"prev\":\"\",") + SHA256_HEX_LEN];
    char carried[sizeof("\"carried\":18446744073709551615,")];
};

static struct prefix prefix_format(const struct chain *chain)
{
    struct prefix made = { 0 };
    char hex[SHA256_HEX_LEN + 1];

    hex_format(hex, SPAN_ARRAY(chain->head));
    (void)snprintf(made.seq, sizeof(made.seq), "{\"seq\":%" PRIu64 ",", chain->seq + 1);
    (void)snprintf(made.prev, sizeof(made.prev), "\"prev\":\"%s\",", hex);
    if (chain->carry)
        (void)snprintf(made.carried, sizeof(made.carried), "\"carried\":%" PRIu64 ",",
                       chain->state_sequence);
    return made;
}

/* stateSequence of a result; 0 for everything else. */
static uint64_t result_sequence(const json_t *record)
{
    const char *const phase = json_string_value(json_object_get(record, "phase"));
    const json_int_t number = json_integer_value(json_object_get(record, "stateSequence"));

    return phase && strcmp(phase, "result") == 0 && number > 0 ? (uint64_t)number : 0;
}

static bool mentions(struct span record, struct span word)
{
    return memmem(record.ptr, record.len, word.ptr, word.len) != NULL;
}

static bool take_text(struct span *line, const char *text)
{
    struct span taken;
    const struct span want = span_text(text);

    return span_take(line, want.len, &taken) && span_equal(taken, want);
}

/* Reads a decimal without leading zeros, at most INT64_MAX: what jansson writes and reads. */
static bool take_number(struct span *line, uint64_t *ret)
{
    struct span digit;
    uint64_t value = 0;
    size_t count = 0;

    for (; line->len && line->ptr[0] >= '0' && line->ptr[0] <= '9'; count++) {
        if ((count == 1 && value == 0) || !span_take(line, 1, &digit) ||
            value > ((uint64_t)INT64_MAX - 9) / 10)
            return false;
        value = value * 10 + (uint64_t)(digit.ptr[0] - '0');
    }
    *ret = value;
    return count > 0;
}

/* Members that are neither trees nor escaped texts, and none of those that were read before. */
static bool is_plain(struct span members)
{
    for (size_t i = 0; i < members.len; i++)
        if (strchr("{}[]\\", members.ptr[i]))
            return false;
    return !mentions(members, SPAN_LITERAL("\"phase\"")) &&
           !mentions(members, SPAN_LITERAL("\"stateSequence\""));
}

/*
 * Reads the end that record.c gives to the line of a result. What stands there are members of the
 * object itself: within a string their quotes would be escaped, and no tree is closed behind them.
 */
static bool find_result_end(struct span line, uint64_t *ret)
{
    static const char begin[] = ",\"phase\":\"result\",\"stateSequence\":";
    const size_t room = line.len < RESULT_END_MAX ? line.len : RESULT_END_MAX;
    const struct span end = span_of(line.ptr + line.len - room, room);
    const uint8_t *const found = memmem(end.ptr, end.len, begin, sizeof(begin) - 1);
    uint64_t sequence = 0;

    if (found == NULL)
        return false;
    const uint8_t *const at = found + sizeof(begin) - 1;
    struct span rest = span_of(at, (size_t)(end.ptr + end.len - at));
    if (!take_number(&rest, &sequence) || rest.len == 0 || rest.ptr[rest.len - 1] != '}' ||
        (rest.ptr[0] != ',' && rest.len > 1) || !is_plain(span_of(rest.ptr, rest.len - 1)))
        return false;
    *ret = sequence;
    return true;
}

/* The sequence of a record's text. Only what may be a result is parsed. */
static uint64_t result_sequence_of(struct span record)
{
    uint64_t sequence = 0;

    if (!mentions(record, SPAN_LITERAL("\"result\"")) || find_result_end(record, &sequence))
        return sequence;
    json_auto_t *object = json_loadb((const char *)record.ptr, record.len, 0, NULL);
    return result_sequence(object);
}

static void reached(struct chain *chain, uint64_t state_sequence)
{
    if (state_sequence > chain->state_sequence)
        chain->state_sequence = state_sequence;
}

/* Moves on over a line whose hash is known. */
static void move_on(struct chain *chain, const uint8_t hash[SHA256_LEN], uint64_t state_sequence)
{
    memcpy(chain->head, hash, SHA256_LEN);
    chain->seq++;
    chain->carry = false;
    chain->trust_carried = false;
    reached(chain, state_sequence);
}

static bool is_one_object(struct span record)
{
    return record.len > sizeof("{}") - 1 && record.ptr[0] == '{' &&
           record.ptr[record.len - 1] == '}' && memchr(record.ptr, '\n', record.len) == NULL;
}

int chain_append(struct chain *chain, struct span record, struct buf *ret, struct kms_error *err)
{
    const size_t begin = ret->len;
    const struct prefix prefix = prefix_format(chain);
    uint8_t hash[SHA256_LEN];

    if (!is_one_object(record))
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "an audit record is not one JSON object");
    if (record.len > CHAIN_LINE_MAX - sizeof(prefix))
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "an audit record has %zu bytes", record.len);

    buf_text(ret, prefix.seq);
    buf_text(ret, prefix.prev);
    buf_text(ret, prefix.carried);
    buf_append(ret, span_of(record.ptr + 1, record.len - 1));
    buf_u8(ret, '\n');
    if (buf_check(ret, err) < 0)
        return -1;
    if (sha256_of(span_of(ret->ptr + begin, ret->len - begin - 1), hash, err) < 0) {
        ret->len = begin;
        return -1;
    }
    move_on(chain, hash, result_sequence_of(record));
    return 0;
}

static const char *check_carried(struct chain *chain, struct span *line)
{
    uint64_t carried = 0;

    if (!take_text(line, "\"carried\":") || !take_number(line, &carried) || !take_text(line, ","))
        return "the first line of a segment does not carry the state sequence";
    if (!chain->trust_carried && carried != chain->state_sequence)
        return "the state sequence carried is not the greatest one before";
    reached(chain, carried);
    return NULL;
}

/* Members that only some lines have; a second "seq" would be two lines that lost a newline. */
static bool is_special(struct span rest)
{
    return mentions(rest, SPAN_LITERAL("\"carried\"")) || mentions(rest, SPAN_LITERAL("\"seq\""));
}

/*
 * What a line says of the state sequence; NULL, or what is wrong with it. Only what may say
 * something is parsed: the next line's hash vouches for the rest, and a start must not be slow.
 */
static const char *check_members(const struct chain *chain, struct span line, struct span rest,
                                 uint64_t *ret)
{
    *ret = 0;
    if (!is_one_object(line))
        return "it is not a JSON object";
    if (!chain->carry && !is_special(rest) &&
        (!mentions(rest, SPAN_LITERAL("\"result\"")) || find_result_end(rest, ret)))
        return NULL;
    json_auto_t *object =
        json_loadb((const char *)line.ptr, line.len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(object))
        return "it is not a JSON object";
    if (!chain->carry && json_object_get(object, "carried"))
        return "it carries a state sequence but does not begin a segment";
    *ret = result_sequence(object);
    return NULL;
}

const char *chain_check(struct chain *chain, struct span line)
{
    struct chain next = *chain;
    struct span rest = line;
    uint8_t hash[SHA256_LEN];
    uint64_t state_sequence = 0;
    struct kms_error ignored = { 0 };
    const struct prefix want = prefix_format(chain);

    if (!take_text(&rest, want.seq))
        return "it does not have the next number";
    if (!take_text(&rest, want.prev))
        return "it does not continue the line before";
    const char *problem = chain->carry ? check_carried(&next, &rest) : NULL;
    if (problem == NULL)
        problem = check_members(chain, line, rest, &state_sequence);
    if (problem)
        return problem;
    if (sha256_of(line, hash, &ignored) < 0)
        return "it cannot be hashed";
    move_on(&next, hash, state_sequence);
    *chain = next;
    return NULL;
}
