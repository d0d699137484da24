/* hsmkms-audit: reads an audit trail, needs no service and no key. Exit codes: 0 the trail is
 * good, 1 it is not, 2 wrong use or no such directory. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/audit/audit.h"
#include "hsmkms/audit/prove.h"
#include "hsmkms/base/encode.h"
#include "hsmkms/crypto/digest.h"

#define TAIL_DEFAULT 10
#define TAIL_MOST    UINT64_C(1000000)

enum exit_code { EXIT_GOOD, EXIT_BAD, EXIT_USE };

struct command {
    const char *name, *arguments, *help;
    int least, most; /* arguments */
    enum exit_code (*run)(const char *const *arguments, int count);
};

/* A line that was written down elsewhere and must be in the trail: "SEQ:HASH". */
struct noted {
    uint64_t seq;
    uint8_t hash[SHA256_LEN];
    bool found;
};

static enum exit_code show(const struct kms_error *err)
{
    (void)fprintf(stderr, "hsmkms-audit: %s%s%s\n", err->message,
                  err->message[0] && err->detail[0] ? ": " : "", err->detail);
    return err->code == KMS_ERR_CONFIG ? EXIT_USE : EXIT_BAD;
}

static bool number_parse(const char *text, char end_with, uint64_t *ret, const char **ret_end)
{
    char *end = NULL;

    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    if (errno || text[0] < '0' || text[0] > '9' || *end != end_with)
        return false;
    *ret = number;
    *ret_end = end;
    return true;
}

static bool noted_parse(const char *text, struct noted *ret)
{
    const char *end = NULL;

    return number_parse(text, ':', &ret->seq, &end) && ret->seq > 0 &&
           hex_parse(span_text(end + 1), ret->hash, SHA256_LEN);
}

static void look_for_noted(void *arg, uint64_t seq, struct span line)
{
    struct noted *const noted = arg;
    struct kms_error err = { 0 };
    uint8_t hash[SHA256_LEN];

    if (seq == noted->seq && sha256_of(line, hash, &err) == 0)
        noted->found = span_equal(SPAN_ARRAY(hash), SPAN_ARRAY(noted->hash));
}

static bool is_key(const char *text)
{
    uint8_t hash[SHA256_LEN];

    return hex_parse(span_text(text), hash, sizeof(hash));
}

/* What verify is told besides the directory. */
struct wanted {
    struct noted noted; /* seq 0: nothing was noted */
    const char *key;    /* or NULL */
};

static bool wanted_parse(const char *const *arguments, int count, struct wanted *ret)
{
    for (int i = 0; i < count; i++) {
        if (is_key(arguments[i]) && ret->key == NULL) {
            ret->key = arguments[i];
        } else if (ret->noted.seq != 0 || !noted_parse(arguments[i], &ret->noted)) {
            (void)fprintf(stderr, "hsmkms-audit: '%s' is neither SEQ:HASH nor KEY\n",
                          arguments[i]);
            return false;
        }
    }
    return true;
}

static bool is_wanted(const struct wanted *wanted, const struct audit_tail *tail)
{
    if (wanted->noted.seq && !wanted->noted.found) {
        (void)fprintf(stderr, "hsmkms-audit: line %" PRIu64 " is not the one that was noted\n",
                      wanted->noted.seq);
        return false;
    }
    if (wanted->key && strcmp(wanted->key, tail->key) != 0) {
        (void)fprintf(stderr, "hsmkms-audit: no checkpoint was signed by that key\n");
        return false;
    }
    return true;
}

static enum exit_code run_verify(const char *const *arguments, int count)
{
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };
    struct wanted wanted = { 0 };

    if (!wanted_parse(arguments + 1, count - 1, &wanted))
        return EXIT_USE;
    if (audit_verify(arguments[0], look_for_noted, &wanted.noted, &tail, &err) < 0)
        return show(&err);
    if (!is_wanted(&wanted, &tail))
        return EXIT_BAD;
    (void)printf("good: %" PRIu64 " records in %zu segments\nlast seq: %" PRIu64
                 "\nstate sequence: %" PRIu64 "\nhead: %" PRIu64 ":%s\ncheckpoints: %" PRIu64
                 "\n",
                 tail.seq, tail.segments, tail.seq, tail.state_sequence, tail.seq, tail.head,
                 tail.checkpoints);
    if (tail.checkpoints)
        (void)printf("covered to: %" PRIu64 "\nsigned by: %s\n", tail.checkpoint_seq, tail.key);
    return EXIT_GOOD;
}

static enum exit_code run_prove(const char *const *arguments, int count)
{
    struct kms_error err = { 0 };
    AUTO(buf) proof = { 0 };
    const char *end = NULL;
    uint64_t seq = 0;

    (void)count; /* always two */
    if (!number_parse(arguments[1], '\0', &seq, &end)) {
        (void)fprintf(stderr, "hsmkms-audit: '%s' is not a number of a line\n", arguments[1]);
        return EXIT_USE;
    }
    if (audit_prove(arguments[0], seq, &proof, &err) < 0)
        return show(&err);
    (void)fwrite(proof.ptr, 1, proof.len, stdout); /* main looks at stdout at the end */
    return EXIT_GOOD;
}

static void print_line(void *arg, uint64_t seq, struct span line)
{
    (void)arg;
    (void)seq;
    (void)fwrite(line.ptr, 1, line.len, stdout); /* main looks at stdout at the end */
    (void)putchar('\n');
}

static enum exit_code run_tail(const char *const *arguments, int count)
{
    struct kms_error err = { 0 };
    uint64_t lines = TAIL_DEFAULT;
    const char *end = NULL;

    if (count > 1 && (!number_parse(arguments[1], '\0', &lines, &end) || lines > TAIL_MOST)) {
        (void)fprintf(stderr, "hsmkms-audit: '%s' is not a number of lines\n", arguments[1]);
        return EXIT_USE;
    }
    if (audit_last(arguments[0], lines, print_line, NULL, &err) < 0)
        return show(&err);
    return EXIT_GOOD;
}

/* clang-format off */
static const struct command commands[] = {
    { "verify", "DIR [SEQ:HASH] [KEY]",
      "check the whole trail and its checkpoints; that it holds a head noted earlier; that KEY signed",
      1, 3, run_verify },
    { "prove",  "DIR SEQ", "print the proof that line SEQ is one that a checkpoint covers, as JSON",
      2, 2, run_prove },
    { "tail",   "DIR [N]", "print the last N lines, 10 if not said, unchecked",
      1, 2, run_tail },
};
/* clang-format on */

static enum exit_code usage(FILE *to, enum exit_code code)
{
    (void)fprintf(to, "usage: hsmkms-audit COMMAND ...\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        (void)fprintf(to, "  %-7s %-21s %s\n", commands[i].name, commands[i].arguments,
                      commands[i].help);
    return code;
}

static enum exit_code run_command(int count, const char *const *words)
{
    for (size_t i = 0; count > 0 && i < ARRAY_LEN(commands); i++) {
        const struct command *const command = &commands[i];
        if (strcmp(words[0], command->name) == 0 && count - 1 >= command->least &&
            count - 1 <= command->most)
            return command->run(words + 1, count - 1);
    }
    if (count == 1 && strcmp(words[0], "--help") == 0)
        return usage(stdout, EXIT_GOOD);
    return usage(stderr, EXIT_USE);
}

int main(int argc, char **argv)
{
    const enum exit_code code = run_command(argc - 1, (const char *const *)argv + 1);

    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fprintf(stderr, "hsmkms-audit: cannot write the output\n");
        return EXIT_USE;
    }
    return (int)code;
}
