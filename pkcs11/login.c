#include "pkcs11/login.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "hsmkms/base/encode.h"
#include "pkcs11/files.h"

#define PIN_MAX        256
#define LATCH_NAME     "pin-latch" /* "pin-latch-NAME" of a token with a name */
#define LATCH_MAX      512
#define LATCH_HASH_LEN 32
#define LATCH_MEMORY   (16 * 1024 * 1024) /* bytes; Argon2id, RFC 9106 */
#define LATCH_ROUNDS   3

#define CREDENTIAL "credential:"

/* The PIN */

static bool is_credential(const char *pin_file)
{
    return strncmp(pin_file, CREDENTIAL, sizeof(CREDENTIAL) - 1) == 0;
}

static int pin_path(const char *pin_file, char path[PATH_MAX], struct kms_error *err)
{
    const char *dir = "", *name = pin_file;

    if (is_credential(pin_file)) {
        dir = getenv("CREDENTIALS_DIRECTORY"); /* before threads, and never set by us */
        name = pin_file + sizeof(CREDENTIAL) - 1;
        if (dir == NULL || dir[0] == '\0')
            return kms_fail_detail(err, KMS_ERR_CONFIG, "no $CREDENTIALS_DIRECTORY for %s",
                                   pin_file);
        if (name[0] == '\0' || strchr(name, '/'))
            return kms_fail_detail(err, KMS_ERR_CONFIG, "'%s' is no credential name", name);
    }
    const int len = snprintf(path, PATH_MAX, "%s%s%s", dir, dir[0] ? "/" : "", name);
    if (len <= 0 || len >= PATH_MAX)
        return kms_fail_detail(err, KMS_ERR_CONFIG, "path of the PIN file is empty or too long");
    return 0;
}

/* Who can read the PIN can use every key. systemd guards its credentials by directory. */
static int pin_guarded(int fd, const char *path, bool credential, struct kms_error *err)
{
    struct stat info;

    if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode))
        return kms_fail_detail(err, KMS_ERR_CONFIG, "PIN file %s is not a regular file", path);
    if (!credential && (info.st_mode & (S_IRWXG | S_IRWXO)))
        return kms_fail_detail(err, KMS_ERR_CONFIG,
                               "PIN file %s has mode %04o, which lets others at it; make it 0600",
                               path, info.st_mode & 07777);
    return 0;
}

/* ret_len: bytes read. */
static int pin_load(const char *path, bool credential, struct secret *pin, ssize_t *ret_len,
                    struct kms_error *err)
{
    /* what is judged is what is read: the open file; a pipe must not make us wait */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int done = -1;

    if (fd < 0)
        return kms_fail_detail(err, KMS_ERR_CONFIG, "cannot open PIN file %s: %s", path,
                               strerror(errno));
    if (pin_guarded(fd, path, credential, err) == 0) {
        *ret_len = file_read_open(fd, pin->ptr, pin->len);
        done = *ret_len < 0 ? kms_fail_detail(err, KMS_ERR_CONFIG, "cannot read PIN file %s: %s",
                                              path, strerror(errno))
                            : 0;
    }
    (void)close(fd); /* read-only */
    return done;
}

static int pin_read(const char *pin_file, struct secret *ret, struct kms_error *err)
{
    AUTO(secret) pin = { 0 };
    char path[PATH_MAX];
    ssize_t len = 0;

    if (pin_path(pin_file, path, err) < 0 || secret_new(&pin, PIN_MAX, err) < 0 ||
        pin_load(path, is_credential(pin_file), &pin, &len, err) < 0)
        return -1;
    if (len > 0 && pin.ptr[len - 1] == '\n')
        len--;
    if (len == 0)
        return kms_fail_detail(err, KMS_ERR_CONFIG, "PIN file %s is empty", path);
    secret_shorten(&pin, (size_t)len);
    *ret = secret_take(&pin);
    return 0;
}

/* The latch: "salt hash tries verdict", one line of text. */

enum verdict { VERDICT_OPEN, VERDICT_FAILED };
static const char *const verdicts[] = { "open", "failed" };

struct latch {
    bool set;
    uint8_t salt[crypto_pwhash_SALTBYTES], hash[LATCH_HASH_LEN];
    unsigned tries;
    enum verdict verdict;
};

struct latch_name {
    char text[128];
};

static struct latch_name latch_name(const struct login *login)
{
    struct latch_name name;

    (void)snprintf(name.text, sizeof(name.text), LATCH_NAME "%s%.64s", login->name[0] ? "-" : "",
                   login->name);
    return name;
}

static int latch_load(const struct login *login, struct latch *ret, struct kms_error *err)
{
    char salt[2 * sizeof(ret->salt) + 1], hash[2 * sizeof(ret->hash) + 1], verdict[8];
    char path[PATH_MAX], text[LATCH_MAX + 1] = { 0 };

    *ret = (struct latch){ 0 };
    (void)snprintf(path, sizeof(path), "%s/%s", login->state_dir, latch_name(login).text);
    const ssize_t len = file_read(path, (uint8_t *)text, LATCH_MAX);
    if (len < 0 && errno == ENOENT)
        return 0;
    if (len < 0)
        return kms_fail_detail(err, KMS_ERR_CONFIG, "cannot read %s: %s", path, strerror(errno));
    if (sscanf(text, "%32s %64s %u %7s", salt, hash, &ret->tries, verdict) != 4 ||
        !hex_parse(span_text(salt), ret->salt, sizeof(ret->salt)) ||
        !hex_parse(span_text(hash), ret->hash, sizeof(ret->hash)))
        return kms_fail_detail(err, KMS_ERR_PIN_LATCHED, "%s is damaged; nothing was tried", path);
    ret->verdict = strcmp(verdict, verdicts[VERDICT_OPEN]) == 0 ? VERDICT_OPEN : VERDICT_FAILED;
    ret->set = true;
    return 0;
}

static int latch_save(const struct login *login, const struct latch *latch, struct kms_error *err)
{
    char salt[2 * sizeof(latch->salt) + 1], hash[2 * sizeof(latch->hash) + 1], text[LATCH_MAX];

    hex_format(salt, SPAN_ARRAY(latch->salt));
    hex_format(hash, SPAN_ARRAY(latch->hash));
    (void)snprintf(text, sizeof(text), "%s %s %u %s\n", salt, hash, latch->tries,
                   verdicts[latch->verdict]);
    return file_replace(login->state_dir, latch_name(login).text, span_text(text), err);
}

static int latch_hash(const struct latch *latch, const struct secret *pin,
                      uint8_t ret[LATCH_HASH_LEN], struct kms_error *err)
{
    if (crypto_pwhash(ret, LATCH_HASH_LEN, (const char *)pin->ptr, pin->len, latch->salt,
                      LATCH_ROUNDS, LATCH_MEMORY, crypto_pwhash_ALG_ARGON2ID13) != 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "Argon2id: out of memory");
    return 0;
}

/* Points the latch at this PIN. ret_same: it was about the same one before. */
static int latch_aim(struct latch *latch, const struct secret *pin, bool *ret_same,
                     struct kms_error *err)
{
    uint8_t hash[LATCH_HASH_LEN];

    *ret_same = false;
    if (latch->set) {
        if (latch_hash(latch, pin, hash, err) < 0)
            return -1;
        *ret_same = sodium_memcmp(hash, latch->hash, sizeof(hash)) == 0;
    }
    if (*ret_same)
        return 0;
    *latch = (struct latch){ .set = true };
    randombytes_buf(latch->salt, sizeof(latch->salt));
    return latch_hash(latch, pin, latch->hash, err);
}

/* The rule */

#define PIN_DANGER (CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED)

/*
 * may we try? Low tries that our own latch explains do not forbid a new PIN; low tries that
 * nobody here caused do.
 */
static int allowed(const struct profile *profile, CK_FLAGS flags, const struct latch *latch,
                   bool same_pin, bool latched, struct kms_error *err)
{
    /* tries that ended in a kill: without a lock to fear, clean flags are word enough */
    const bool used_up = profile->locks && latch->tries > 1;

    if (same_pin && (latch->verdict == VERDICT_FAILED || used_up))
        return kms_fail_detail(err, KMS_ERR_PIN_LATCHED,
                               "this PIN was tried before; put another one into the PIN file, or "
                               "remove its " LATCH_NAME " from the state directory");
    if (flags & PIN_DANGER)
        return kms_fail_detail(err, KMS_ERR_PIN_LATCHED, "the token says its PIN is %s",
                               flags & CKF_USER_PIN_LOCKED ? "locked" : "one try from locking");
    if ((flags & CKF_USER_PIN_COUNT_LOW) && (same_pin || !latched))
        return kms_fail_detail(err, KMS_ERR_PIN_LATCHED,
                               "the token counts failed tries that are not ours");
    return 0;
}

static int try_once(struct login *login, struct session *session, const struct secret *pin,
                    struct latch *latch, struct kms_error *err)
{
    latch->tries++;
    if (latch_save(login, latch, err) < 0)
        return -1;
    login->tries++;
    const CK_RV rv = P11_TRY(session, C_Login, CKU_USER, pin->ptr, pin->len);
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
        return file_remove(login->state_dir, latch_name(login).text, err);
    if (ck_class(rv) != RV_PIN)
        return ck_fail(err, "C_Login", rv);

    struct kms_error unsaved = { 0 };
    latch->verdict = VERDICT_FAILED;
    (void)latch_save(login, latch, &unsaved); /* the open latch forbids it as well */
    return kms_fail_detail(err, KMS_ERR_PIN_LATCHED, "C_Login: %s (0x%lx); it is not tried again",
                           ck_name(rv), (unsigned long)rv);
}

CK_RV login_state(struct session *session, bool *ret)
{
    CK_SESSION_INFO info = { 0 };
    const CK_RV rv = P11_TRY(session, C_GetSessionInfo, &info);

    *ret = rv == CKR_OK &&
           (info.state == CKS_RW_USER_FUNCTIONS || info.state == CKS_RO_USER_FUNCTIONS);
    return rv;
}

int login_user(struct login *login, struct session *session, struct kms_error *err)
{
    AUTO(secret) pin = { 0 };
    struct latch latch;
    CK_FLAGS flags = 0;
    bool in = false, same_pin = false;

    if (login_state(session, &in) != CKR_OK)
        return session_fail(session, err);
    if (in)
        return 0;
    if (sodium_init() < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "libsodium does not start");
    if (pin_read(login->pin_file, &pin, err) < 0 ||
        module_token_flags(session->module, &flags, err) < 0 || latch_load(login, &latch, err) < 0)
        return -1;
    const bool latched = latch.set;
    if (latch_aim(&latch, &pin, &same_pin, err) < 0 ||
        allowed(session->module->profile, flags, &latch, same_pin, latched, err) < 0)
        return -1;
    return try_once(login, session, &pin, &latch, err);
}
