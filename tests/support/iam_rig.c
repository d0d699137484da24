#include "tests/support/iam_rig.h"

#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check.h"

#define MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define LABEL  "hsmkms-test"
#define PIN    "1234"

extern char **environ;

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[300];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *const file = fopen(path, "w");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0);
    CHECK(fchmod(fileno(file), 0600) == 0);
    CHECK(fclose(file) == 0);
}

/* The PIN is no secret: it opens a token that lives as long as this test. */
static void init_token(void)
{
    const char *const argv[] = { "softhsm2-util",
                                 "--init-token",
                                 "--free",
                                 "--label",
                                 LABEL,
                                 "--so-pin",
                                 PIN,
                                 "--pin",
                                 PIN,
                                 NULL };
    posix_spawn_file_actions_t quiet;
    pid_t pid;
    int status = -1;

    CHECK(posix_spawn_file_actions_init(&quiet) == 0);
    CHECK(posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0) == 0);
    /* the cast: POSIX promises not to write, in words only */
    CHECK(posix_spawnp(&pid, argv[0], &quiet, NULL, (char *const *)argv, environ) == 0);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    (void)posix_spawn_file_actions_destroy(&quiet);
}

static void make_folder(struct iam_rig *rig)
{
    char conf[600], tokens[300];
    const char *const tmp = getenv("TMPDIR");

    (void)snprintf(rig->dir, sizeof(rig->dir), "%.200s/hsmkms-iam-XXXXXX", tmp ? tmp : "/tmp");
    CHECK(mkdtemp(rig->dir) != NULL);
    (void)snprintf(tokens, sizeof(tokens), "%s/tokens", rig->dir);
    CHECK(mkdir(tokens, 0700) == 0);
    (void)snprintf(conf, sizeof(conf),
                   "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n",
                   tokens);
    write_file(rig->dir, "softhsm2.conf", conf);
    write_file(rig->dir, "pin", PIN);
    (void)snprintf(conf, sizeof(conf), "%s/softhsm2.conf", rig->dir);
    CHECK(setenv("SOFTHSM2_CONF", conf, 1) == 0); /* before any thread exists */
}

void iam_rig_up(struct iam_rig *rig)
{
    struct kms_error err = { 0 };
    char pin_file[300];
    uint8_t unused[TOKEN_CANARY_LEN];

    *rig = (struct iam_rig){ .signing_keys = 64 };
    make_folder(rig);
    init_token();
    (void)snprintf(pin_file, sizeof(pin_file), "%s/pin", rig->dir);
    const struct token_config config = { .module = MODULE,
                                         .uri = "pkcs11:token=" LABEL,
                                         .init_args = "",
                                         .pin_file = pin_file,
                                         .state_dir = rig->dir,
                                         .sessions = 4,
                                         .copies = 16,
                                         .call_time_ms = 5000 };
    CHECK_OK(token_open(&config, &rig->token, &err), err);
    rig->installation = uuid_random();
    rig->mac_key = uuid_random();
    rig->credential_key = uuid_random();
    CHECK_OK(token_key_generate(rig->token, TOKEN_HMAC, &rig->mac_key, "mac", unused, &err), err);
    CHECK_OK(token_key_generate(rig->token, TOKEN_AES_GCM, &rig->credential_key, "credential",
                                rig->canary, &err),
             err);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

void iam_rig_down(struct iam_rig *rig)
{
    iam_rig_close(rig);
    token_close(rig->token);
    (void)nftw(rig->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int sign(void *ctx, struct span data, uint8_t ret[STORE_MAC_LEN], struct kms_error *err)
{
    const struct iam_rig *const rig = ctx;

    return token_hmac(rig->token, &rig->mac_key, data, ret, err);
}

int iam_rig_open(struct iam_rig *rig, struct kms_error *err)
{
    const struct store_mac mac = { .sign = sign, .ctx = rig };

    if (store_open(rig->database, schema_tables, mac, &rig->store, err) < 0)
        return -1;
    const struct iam_config config = { .token = rig->token,
                                       .store = rig->store,
                                       .clock = &rig->clock,
                                       .installation = rig->installation,
                                       .credential_key = rig->credential_key,
                                       .mac_key = rig->mac_key,
                                       .credential_canary = SPAN_ARRAY(rig->canary),
                                       .account = RIG_ACCOUNT,
                                       .signing_keys = rig->signing_keys };
    return iam_open(&config, &rig->iam, err);
}

void iam_rig_close(struct iam_rig *rig)
{
    iam_close(rig->iam);
    if (rig->store)
        store_close(rig->store);
    rig->iam = NULL;
    rig->store = NULL;
}

void iam_rig_begin(struct iam_rig *rig)
{
    struct kms_error err = { 0 };

    iam_rig_close(rig);
    (void)snprintf(rig->database, sizeof(rig->database), "%s/state-%u.db", rig->dir,
                   rig->databases++);
    CHECK_OK(iam_rig_open(rig, &err), err);
}

void iam_rig_user(struct iam_rig *rig, const char *account, const char *name)
{
    const struct identity_draft draft = { .name = { IDENTITY_USER, account, name } };
    struct kms_error err = { 0 };
    struct identity *user = directory_find(rig->iam->directory, IDENTITY_USER, account, name);

    if (user == NULL)
        CHECK_OK(directory_create(rig->iam->directory, &draft, &user, &err), err);
    identity_unref(user);
}
