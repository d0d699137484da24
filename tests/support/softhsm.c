#include "tests/support/softhsm.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <p11-kit/p11-kit.h>

static void need(bool good, const char *what)
{
    if (!good) {
        (void)fprintf(stderr, "test set-up failed: %s\n", what);
        abort();
    }
}

void test_dir_make(char *ret, size_t size)
{
    const char *const tmp = getenv("TMPDIR");

    (void)snprintf(ret, size, "%s/hsmkms-test-XXXXXX", tmp ? tmp : "/tmp");
    need(mkdtemp(ret) != NULL, "mkdtemp");
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

void test_dir_remove(const char *dir)
{
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS); /* a test's litter, at worst */
}

void test_pin_make(char ret[TEST_PIN_LEN + 1])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    uint8_t random[TEST_PIN_LEN];

    need(getentropy(random, sizeof(random)) == 0, "getentropy");
    for (size_t i = 0; i < TEST_PIN_LEN; i++)
        ret[i] = digits[random[i] % 32];
    ret[TEST_PIN_LEN] = '\0';
}

void test_file_write(const char *path, const void *bytes, size_t len)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    need(fd >= 0 && write(fd, bytes, len) == (ssize_t)len && close(fd) == 0, path);
}

void softhsm_write_pin(const struct softhsm *softhsm, const char *pin)
{
    char line[256];

    test_file_write(softhsm->pin_file, line, (size_t)snprintf(line, sizeof(line), "%s\n", pin));
}

/* The one that has no token yet, or the one of this label (32 characters, padded). */
static CK_SLOT_ID find_slot(CK_FUNCTION_LIST *p11, const CK_UTF8CHAR *label)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count = 16;

    need(p11->C_GetSlotList(CK_TRUE, slots, &count) == CKR_OK, "C_GetSlotList");
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        need(p11->C_GetTokenInfo(slots[i], &info) == CKR_OK, "C_GetTokenInfo");
        const bool made = info.flags & CKF_TOKEN_INITIALIZED;
        if (label ? made && memcmp(info.label, label, sizeof(info.label)) == 0 : !made)
            return slots[i];
    }
    need(false, "a slot");
    return 0;
}

void softhsm_add(const struct softhsm *softhsm, const char *module, const char *name)
{
    CK_FUNCTION_LIST *const p11 =
        p11_kit_module_load(module, P11_KIT_MODULE_CRITICAL | P11_KIT_MODULE_UNMANAGED);
    CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
    CK_UTF8CHAR label[32];
    CK_SLOT_ID slot = 0;
    CK_SESSION_HANDLE session = 0;

    memset(label, ' ', sizeof(label));
    memcpy(label, name, strlen(name));
    need(p11 != NULL, module);
    need(p11->C_Initialize(&args) == CKR_OK, "C_Initialize");
    slot = find_slot(p11, NULL);
    need(p11->C_InitToken(slot, (CK_UTF8CHAR_PTR)softhsm->so_pin, TEST_PIN_LEN, label) == CKR_OK,
         "C_InitToken");
    slot = find_slot(p11, label); /* it has another number now */
    need(p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session) ==
             CKR_OK,
         "C_OpenSession");
    need(p11->C_Login(session, CKU_SO, (CK_UTF8CHAR_PTR)softhsm->so_pin, TEST_PIN_LEN) == CKR_OK,
         "C_Login");
    need(p11->C_InitPIN(session, (CK_UTF8CHAR_PTR)softhsm->pin, TEST_PIN_LEN) == CKR_OK,
         "C_InitPIN");
    need(p11->C_Finalize(NULL) == CKR_OK, "C_Finalize");
}

void softhsm_copy_module(const struct softhsm *softhsm, char *ret, size_t size)
{
    static uint8_t bytes[8 * 1024 * 1024];
    const int fd = open(SOFTHSM_MODULE, O_RDONLY | O_CLOEXEC);
    const ssize_t len = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));

    need(len > 0 && (size_t)len < sizeof(bytes) && close(fd) == 0, SOFTHSM_MODULE);
    (void)snprintf(ret, size, "%s/softhsm-copy.so", softhsm->dir);
    test_file_write(ret, bytes, (size_t)len);
}

void softhsm_init(struct softhsm *ret)
{
    char path[300], text[600];

    *ret = (struct softhsm){ 0 };
    test_dir_make(ret->dir, sizeof(ret->dir));
    (void)snprintf(ret->tokens, sizeof(ret->tokens), "%s/tokens", ret->dir);
    (void)snprintf(ret->state, sizeof(ret->state), "%s/state", ret->dir);
    (void)snprintf(ret->pin_file, sizeof(ret->pin_file), "%s/pin", ret->dir);
    need(mkdir(ret->tokens, 0700) == 0 && mkdir(ret->state, 0700) == 0, "mkdir");
    (void)snprintf(path, sizeof(path), "%s/softhsm2.conf", ret->dir);
    test_file_write(path, text,
                    (size_t)snprintf(text, sizeof(text),
                                     "directories.tokendir = %s\nobjectstore.backend = file\n"
                                     "log.level = ERROR\nslots.removable = false\n",
                                     ret->tokens));
    need(setenv("SOFTHSM2_CONF", path, 1) == 0, "setenv");
    test_pin_make(ret->pin);
    test_pin_make(ret->so_pin);
    softhsm_write_pin(ret, ret->pin);
    softhsm_add(ret, SOFTHSM_MODULE, TEST_LABEL);
}

void softhsm_done(struct softhsm *softhsm)
{
    test_dir_remove(softhsm->dir);
    *softhsm = (struct softhsm){ 0 };
}

struct token_config softhsm_config(const struct softhsm *softhsm)
{
    return (struct token_config){ .module = SOFTHSM_MODULE,
                                  .uri = "pkcs11:token=" TEST_LABEL,
                                  .init_args = "",
                                  .pin_file = softhsm->pin_file,
                                  .state_dir = softhsm->state,
                                  .sessions = 4,
                                  .copies = 64,
                                  .call_time_ms = 20000 };
}

struct token *softhsm_open(struct softhsm *ret)
{
    struct kms_error err = { 0 };
    struct token *token = NULL;

    softhsm_init(ret);
    const struct token_config config = softhsm_config(ret);
    need(token_open(&config, &token, &err) == 0, err.message);
    return token;
}

static int count_one(void *arg, const struct uuid *id, const char *label, struct kms_error *err)
{
    (void)id;
    (void)label;
    (void)err;
    ++*(unsigned *)arg;
    return 0;
}

unsigned softhsm_keys(struct token *token)
{
    struct kms_error err = { 0 };
    unsigned count = 0;

    need(token_inventory(token, count_one, &count, &err) == 0, err.message);
    return count;
}

void softhsm_record_path(const struct softhsm *softhsm, char *ret, size_t size)
{
    DIR *const dir = opendir(softhsm->tokens);
    const struct dirent *entry;

    need(dir != NULL, "opendir");
    while ((entry = readdir(dir)) && entry->d_name[0] == '.')
        continue;
    need(entry != NULL, "a token directory");
    (void)snprintf(ret, size, "%s/%s/token.object", softhsm->tokens, entry->d_name);
    (void)closedir(dir);
}
