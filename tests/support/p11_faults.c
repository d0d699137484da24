/*
 * A PKCS#11 module that goes wrong on request. It forwards every call to a real module and, for
 * the calls that rules name, fails, waits, lies or forgets.
 *
 *   P11_FAULTS_MODULE  path of the real module
 *   P11_FAULTS_FILE    rules, one per line; read again when the file changes, which also starts
 *                      the counting for after= and times= anew
 *   P11_FAULTS_COUNTS  one line per function, "C_Encrypt      17"; goes on counting where an
 *                      earlier process stopped
 *
 * Rules:
 *   C_NAME [after=N] [every=N] [times=N] [p=0.01] WHAT...   from call N+1 on, of these each Nth,
 *                                                 N times at most, at random
 *       rv=0x30         answers this instead of calling
 *       fail-after      calls, then answers rv (default CKR_DEVICE_ERROR)
 *       delay=MS        waits first
 *       die             the process is killed instead of calling
 *       die-after       calls, then the process is killed
 *       flip            C_Encrypt, C_Decrypt, C_Sign, C_GenerateRandom: turns one bit of what
 *                       comes out
 *       constant        C_GenerateRandom: always the same bytes
 *       truncate=PATH   empties a file after the call
 *   handles stale             object handles given out so far are invalid from now on
 *   login lost                everybody is logged out, once
 *   sessions limit=N          more than N open sessions: CKR_SESSION_COUNT
 *   mechanism hide=CKM_AES_GCM  (or a number) the module does not have it
 *   pin lock=N                the PIN is locked at N failed tries, over all processes
 *   maker NAME                the module says that NAME made it
 *
 * Standard: PKCS #11 v2.40.
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

#define RULES_MAX   32
#define LINE_LEN    40 /* of the counts file */
#define EPOCH_SHIFT 40 /* object handles carry the epoch in which they were given out */

/* clang-format off */
#define FUNCTIONS(X) \
    X(C_Initialize) X(C_Finalize) X(C_GetInfo) X(C_GetSlotList) X(C_GetSlotInfo) \
    X(C_GetTokenInfo) X(C_GetMechanismList) X(C_GetMechanismInfo) X(C_InitToken) X(C_InitPIN) \
    X(C_SetPIN) X(C_OpenSession) X(C_CloseSession) X(C_CloseAllSessions) X(C_GetSessionInfo) \
    X(C_GetOperationState) X(C_SetOperationState) X(C_Login) X(C_Logout) X(C_CreateObject) \
    X(C_CopyObject) X(C_DestroyObject) X(C_GetObjectSize) X(C_GetAttributeValue) \
    X(C_SetAttributeValue) X(C_FindObjectsInit) X(C_FindObjects) X(C_FindObjectsFinal) \
    X(C_EncryptInit) X(C_Encrypt) X(C_EncryptUpdate) X(C_EncryptFinal) X(C_DecryptInit) \
    X(C_Decrypt) X(C_DecryptUpdate) X(C_DecryptFinal) X(C_DigestInit) X(C_Digest) \
    X(C_DigestUpdate) X(C_DigestKey) X(C_DigestFinal) X(C_SignInit) X(C_Sign) X(C_SignUpdate) \
    X(C_SignFinal) X(C_SignRecoverInit) X(C_SignRecover) X(C_VerifyInit) X(C_Verify) \
    X(C_VerifyUpdate) X(C_VerifyFinal) X(C_VerifyRecoverInit) X(C_VerifyRecover) \
    X(C_DigestEncryptUpdate) X(C_DecryptDigestUpdate) X(C_SignEncryptUpdate) \
    X(C_DecryptVerifyUpdate) X(C_GenerateKey) X(C_GenerateKeyPair) X(C_WrapKey) X(C_UnwrapKey) \
    X(C_DeriveKey) X(C_SeedRandom) X(C_GenerateRandom) X(C_GetFunctionStatus) \
    X(C_CancelFunction) X(C_WaitForSlotEvent)
/* clang-format on */

enum function {
#define X(name) F_##name,
    FUNCTIONS(X)
#undef X
        F_COUNT
};

static const char *const names[] = {
#define X(name) #name,
    FUNCTIONS(X)
#undef X
        "pin-failures" /* the one counter that is no function */
};
#define PIN_FAILURES F_COUNT

struct rule {
    enum function function;
    unsigned after, every, times, seen, done, delay_ms;
    double probability;
    CK_RV rv;
    bool refuses, fails_after, flips, constant, dies, dies_after;
    char truncate[256];
};

/* What the rules want of one call. */
struct order {
    CK_RV rv;
    bool refuses, fails_after, flips, constant, dies_after;
    unsigned delay_ms;
    char truncate[256];
};

static struct {
    pthread_mutex_t mutex; /* guards everything here */
    CK_FUNCTION_LIST *real;
    struct rule rules[RULES_MAX];
    unsigned rule_count;
    struct stat file;
    unsigned long epoch;
    unsigned session_limit, sessions, pin_lock;
    CK_MECHANISM_TYPE hidden;
    char maker[33];
    CK_SESSION_HANDLE logged_in; /* the session that did it last */
    char *counts;                /* the file, mapped */
    unsigned seed;
} shim = { .mutex = PTHREAD_MUTEX_INITIALIZER };

/* Rules */

static CK_MECHANISM_TYPE mechanism_named(const char *text)
{
    return strcmp(text, "CKM_AES_GCM") == 0 ? CKM_AES_GCM : strtoul(text, NULL, 0);
}

static void read_word(struct rule *rule, const char *word)
{
    char truncate[256];

    if (sscanf(word, "after=%u", &rule->after) == 1 ||
        sscanf(word, "every=%u", &rule->every) == 1 ||
        sscanf(word, "times=%u", &rule->times) == 1 ||
        sscanf(word, "p=%lf", &rule->probability) == 1 ||
        sscanf(word, "delay=%u", &rule->delay_ms) == 1)
        return;
    if (sscanf(word, "rv=%li", (long *)&rule->rv) == 1)
        rule->refuses = true;
    else if (sscanf(word, "truncate=%255s", truncate) == 1)
        (void)snprintf(rule->truncate, sizeof(rule->truncate), "%s", truncate);
    else if (strcmp(word, "fail-after") == 0)
        rule->fails_after = true;
    else if (strcmp(word, "flip") == 0)
        rule->flips = true;
    else if (strcmp(word, "constant") == 0)
        rule->constant = true;
    else if (strcmp(word, "die") == 0)
        rule->dies = true;
    else if (strcmp(word, "die-after") == 0)
        rule->dies_after = true;
    else
        (void)fprintf(stderr, "p11_faults: unknown word '%s'\n", word);
}

static void read_rule(enum function function, char **rest)
{
    struct rule rule = {
        .function = function, .every = 1, .times = ~0u, .probability = 1, .rv = CKR_DEVICE_ERROR
    };
    const char *word;

    while ((word = strtok_r(NULL, " \t\n", rest)))
        read_word(&rule, word);
    if (rule.fails_after)
        rule.refuses = false;
    if (shim.rule_count < RULES_MAX)
        shim.rules[shim.rule_count++] = rule;
}

static void read_line(char *line)
{
    char *rest = NULL;
    const char *const first = strtok_r(line, " \t\n", &rest);

    if (first == NULL || first[0] == '#')
        return;
    for (int i = 0; i < F_COUNT; i++)
        if (strcmp(first, names[i]) == 0) {
            read_rule((enum function)i, &rest);
            return;
        }
    const char *const word = strtok_r(NULL, " \t\n", &rest);
    if (word && strcmp(first, "handles") == 0)
        shim.epoch++;
    else if (word && strcmp(first, "login") == 0)
        (void)shim.real->C_Logout(shim.logged_in); /* who is logged out already stays so */
    else if (word && strcmp(first, "sessions") == 0)
        (void)sscanf(word, "limit=%u", &shim.session_limit);
    else if (word && strcmp(first, "pin") == 0)
        (void)sscanf(word, "lock=%u", &shim.pin_lock);
    else if (word && strcmp(first, "maker") == 0)
        (void)snprintf(shim.maker, sizeof(shim.maker), "%-32.32s", word);
    else if (word && strcmp(first, "mechanism") == 0 && strncmp(word, "hide=", 5) == 0)
        shim.hidden = mechanism_named(word + 5);
    else
        (void)fprintf(stderr, "p11_faults: unknown rule '%s'\n", first);
}

static void read_rules(void)
{
    const char *const path = getenv("P11_FAULTS_FILE");
    struct stat now;
    char line[512];

    if (path == NULL || stat(path, &now) != 0 ||
        (now.st_mtim.tv_sec == shim.file.st_mtim.tv_sec &&
         now.st_mtim.tv_nsec == shim.file.st_mtim.tv_nsec && now.st_size == shim.file.st_size &&
         now.st_ino == shim.file.st_ino))
        return;
    FILE *const file = fopen(path, "re");
    if (file == NULL)
        return;
    shim.file = now;
    shim.rule_count = shim.session_limit = shim.pin_lock = 0;
    shim.hidden = (CK_MECHANISM_TYPE)-1;
    shim.maker[0] = '\0';
    while (fgets(line, sizeof(line), file))
        read_line(line);
    (void)fclose(file);
}

/* Counts: fixed lines in a mapped file, so that a killed process has counted too */

static void open_counts(void)
{
    const char *const path = getenv("P11_FAULTS_COUNTS");
    const off_t size = (F_COUNT + 1) * LINE_LEN;
    struct stat info;
    const int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

    if (fd < 0)
        return;
    const bool fresh = fstat(fd, &info) == 0 && info.st_size != size;
    if (ftruncate(fd, size) == 0) {
        char *const map = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED)
            shim.counts = map;
    }
    (void)close(fd);
    for (int i = 0; shim.counts && fresh && i <= F_COUNT; i++) {
        char line[LINE_LEN + 1];
        (void)snprintf(line, sizeof(line), "%-28s%*u\n", names[i], LINE_LEN - 29, 0u);
        memcpy(shim.counts + i * LINE_LEN, line, LINE_LEN);
    }
}

static unsigned counted(int which)
{
    return shim.counts ? (unsigned)strtoul(shim.counts + which * LINE_LEN + 28, NULL, 10) : 0;
}

static void count_set(int which, unsigned value)
{
    char digits[LINE_LEN];

    if (shim.counts == NULL)
        return;
    (void)snprintf(digits, sizeof(digits), "%*u", LINE_LEN - 29, value);
    memcpy(shim.counts + which * LINE_LEN + 28, digits, LINE_LEN - 29);
}

/* Around every call */

/* No handler runs and nothing is flushed: what a power cut or the kernel would do. */
static void die(void)
{
    (void)raise(SIGKILL);
}

/* Under the mutex: this call counts, and is one that the rule means. */
static bool rule_applies(struct rule *rule, enum function function)
{
    if (rule->function != function || rule->seen++ < rule->after || rule->done >= rule->times ||
        (rule->seen - rule->after) % rule->every != 0 ||
        (rule->probability < 1 && rand_r(&shim.seed) > rule->probability * RAND_MAX))
        return false;
    rule->done++;
    return true;
}

static struct order before(enum function function)
{
    struct order order = { 0 };

    (void)pthread_mutex_lock(&shim.mutex);
    read_rules();
    count_set((int)function, counted((int)function) + 1);
    for (unsigned i = 0; i < shim.rule_count; i++) {
        struct rule *const rule = &shim.rules[i];

        if (!rule_applies(rule, function))
            continue;
        if (rule->dies)
            die();
        order.rv = rule->rv;
        order.refuses |= rule->refuses;
        order.fails_after |= rule->fails_after;
        order.flips |= rule->flips;
        order.constant |= rule->constant;
        order.dies_after |= rule->dies_after;
        order.delay_ms += rule->delay_ms;
        memcpy(order.truncate, rule->truncate, sizeof(order.truncate));
    }
    (void)pthread_mutex_unlock(&shim.mutex);

    if (order.delay_ms)
        (void)nanosleep(
            &(struct timespec){ order.delay_ms / 1000, (long)(order.delay_ms % 1000) * 1000000 },
            NULL);
    return order;
}

static CK_RV after(const struct order *order, CK_RV rv)
{
    if (order->dies_after)
        die();
    if (order->truncate[0] && truncate(order->truncate, 0) != 0)
        (void)fprintf(stderr, "p11_faults: cannot empty %s\n", order->truncate);
    return order->fails_after ? order->rv : rv;
}

/* Handles */

static unsigned long epoch(void)
{
    (void)pthread_mutex_lock(&shim.mutex);
    const unsigned long now = shim.epoch;
    (void)pthread_mutex_unlock(&shim.mutex);
    return now;
}

static bool fresh(CK_OBJECT_HANDLE handle)
{
    return handle == CK_INVALID_HANDLE || handle >> EPOCH_SHIFT == epoch();
}

static CK_OBJECT_HANDLE inside(CK_OBJECT_HANDLE handle)
{
    return handle & ((1ul << EPOCH_SHIFT) - 1);
}

static CK_RV outside(CK_RV rv, CK_OBJECT_HANDLE *handles, CK_ULONG count)
{
    const unsigned long now = epoch();

    for (CK_ULONG i = 0; rv == CKR_OK && i < count; i++)
        handles[i] |= now << EPOCH_SHIFT;
    return rv;
}

/* A function that is only forwarded, and one that also takes an object's handle k. */
#define FORWARD(name, params, args)                                                                \
    static CK_RV faulty_##name params                                                              \
    {                                                                                              \
        const struct order order = before(F_##name);                                               \
        return order.refuses ? order.rv : after(&order, shim.real->name args);                     \
    }
#define FORWARD_KEY(name, params, args)                                                            \
    static CK_RV faulty_##name params                                                              \
    {                                                                                              \
        const struct order order = before(F_##name);                                               \
        if (order.refuses)                                                                         \
            return order.rv;                                                                       \
        return fresh(k) ? after(&order, shim.real->name args) : CKR_OBJECT_HANDLE_INVALID;         \
    }
/* One that gives out an object's handle, and takes k (CK_INVALID_HANDLE: none). */
#define FORWARD_MAKE(name, k, out, params, args)                                                   \
    static CK_RV faulty_##name params                                                              \
    {                                                                                              \
        const struct order order = before(F_##name);                                               \
        if (order.refuses)                                                                         \
            return order.rv;                                                                       \
        if (!fresh(k))                                                                             \
            return CKR_OBJECT_HANDLE_INVALID;                                                      \
        return after(&order, outside(shim.real->name args, out, 1));                               \
    }

/*
 * The call that ends an operation (data d, n bytes; result o, l): an error of it ends the
 * operation too, all but CKR_BUFFER_TOO_SMALL, so the real one is called and its result dropped.
 */
#define SCRATCH 16384
#define FORWARD_LAST(name)                                                                         \
    static CK_RV faulty_##name(S s, B d, U n, B o, N l)                                            \
    {                                                                                              \
        const struct order order = before(F_##name);                                               \
        CK_BYTE scratch[SCRATCH];                                                                  \
        CK_ULONG len = sizeof(scratch);                                                            \
        if (order.refuses && order.rv != CKR_BUFFER_TOO_SMALL)                                     \
            (void)shim.real->name(s, d, n, scratch, &len);                                         \
        if (order.refuses)                                                                         \
            return order.rv;                                                                       \
        const CK_RV rv = shim.real->name(s, d, n, o, l);                                           \
        if (order.flips && rv == CKR_OK && o && *l)                                                \
            o[0] ^= 1;                                                                             \
        return after(&order, rv);                                                                  \
    }

/* clang-format off */
typedef CK_SESSION_HANDLE S;
typedef CK_OBJECT_HANDLE O;
typedef CK_BYTE_PTR B;
typedef CK_ULONG U;
typedef CK_ULONG_PTR N;
typedef CK_MECHANISM_PTR M;
typedef CK_ATTRIBUTE_PTR A;

FORWARD(C_Finalize, (void *r), (r))
FORWARD(C_GetSlotList, (CK_BBOOL t, CK_SLOT_ID *l, N n), (t, l, n))
FORWARD(C_GetSlotInfo, (CK_SLOT_ID s, CK_SLOT_INFO *i), (s, i))
FORWARD(C_InitToken, (CK_SLOT_ID s, B p, U n, B l), (s, p, n, l))
FORWARD(C_InitPIN, (S s, B p, U n), (s, p, n))
FORWARD(C_SetPIN, (S s, B o, U ol, B p, U pl), (s, o, ol, p, pl))
FORWARD(C_GetSessionInfo, (S s, CK_SESSION_INFO *i), (s, i))
FORWARD(C_GetOperationState, (S s, B p, N n), (s, p, n))
FORWARD(C_SetOperationState, (S s, B p, U n, O e, O a), (s, p, n, inside(e), inside(a)))
FORWARD(C_Logout, (S s), (s))
FORWARD_MAKE(C_CreateObject, CK_INVALID_HANDLE, o, (S s, A a, U n, O *o), (s, a, n, o))
FORWARD_MAKE(C_CopyObject, k, o, (S s, O k, A a, U n, O *o), (s, inside(k), a, n, o))
FORWARD_KEY(C_DestroyObject, (S s, O k), (s, inside(k)))
FORWARD_KEY(C_GetObjectSize, (S s, O k, N n), (s, inside(k), n))
FORWARD_KEY(C_GetAttributeValue, (S s, O k, A a, U n), (s, inside(k), a, n))
FORWARD_KEY(C_SetAttributeValue, (S s, O k, A a, U n), (s, inside(k), a, n))
FORWARD(C_FindObjectsInit, (S s, A a, U n), (s, a, n))
FORWARD(C_FindObjectsFinal, (S s), (s))
FORWARD_KEY(C_EncryptInit, (S s, M m, O k), (s, m, inside(k)))
FORWARD(C_EncryptUpdate, (S s, B d, U n, B e, N l), (s, d, n, e, l))
FORWARD(C_EncryptFinal, (S s, B e, N l), (s, e, l))
FORWARD_KEY(C_DecryptInit, (S s, M m, O k), (s, m, inside(k)))
FORWARD_LAST(C_Encrypt)
FORWARD_LAST(C_Decrypt)
FORWARD(C_DecryptUpdate, (S s, B e, U n, B d, N l), (s, e, n, d, l))
FORWARD(C_DecryptFinal, (S s, B d, N l), (s, d, l))
FORWARD(C_DigestInit, (S s, M m), (s, m))
FORWARD(C_Digest, (S s, B d, U n, B o, N l), (s, d, n, o, l))
FORWARD(C_DigestUpdate, (S s, B d, U n), (s, d, n))
FORWARD_KEY(C_DigestKey, (S s, O k), (s, inside(k)))
FORWARD(C_DigestFinal, (S s, B o, N l), (s, o, l))
FORWARD_KEY(C_SignInit, (S s, M m, O k), (s, m, inside(k)))
FORWARD_LAST(C_Sign)
FORWARD(C_SignUpdate, (S s, B d, U n), (s, d, n))
FORWARD(C_SignFinal, (S s, B o, N l), (s, o, l))
FORWARD_KEY(C_SignRecoverInit, (S s, M m, O k), (s, m, inside(k)))
FORWARD(C_SignRecover, (S s, B d, U n, B o, N l), (s, d, n, o, l))
FORWARD_KEY(C_VerifyInit, (S s, M m, O k), (s, m, inside(k)))
FORWARD(C_Verify, (S s, B d, U n, B o, U l), (s, d, n, o, l))
FORWARD(C_VerifyUpdate, (S s, B d, U n), (s, d, n))
FORWARD(C_VerifyFinal, (S s, B o, U l), (s, o, l))
FORWARD_KEY(C_VerifyRecoverInit, (S s, M m, O k), (s, m, inside(k)))
FORWARD(C_VerifyRecover, (S s, B d, U n, B o, N l), (s, d, n, o, l))
FORWARD(C_DigestEncryptUpdate, (S s, B d, U n, B e, N l), (s, d, n, e, l))
FORWARD(C_DecryptDigestUpdate, (S s, B e, U n, B d, N l), (s, e, n, d, l))
FORWARD(C_SignEncryptUpdate, (S s, B d, U n, B e, N l), (s, d, n, e, l))
FORWARD(C_DecryptVerifyUpdate, (S s, B e, U n, B d, N l), (s, e, n, d, l))
FORWARD_MAKE(C_GenerateKey, CK_INVALID_HANDLE, o, (S s, M m, A a, U n, O *o), (s, m, a, n, o))
FORWARD_KEY(C_WrapKey, (S s, M m, O k, O w, B o, N l), (s, m, inside(k), inside(w), o, l))
FORWARD_MAKE(C_UnwrapKey, k, o, (S s, M m, O k, B w, U l, A a, U n, O *o),
             (s, m, inside(k), w, l, a, n, o))
FORWARD_MAKE(C_DeriveKey, k, o, (S s, M m, O k, A a, U n, O *o), (s, m, inside(k), a, n, o))
FORWARD(C_SeedRandom, (S s, B b, U n), (s, b, n))
FORWARD(C_GetFunctionStatus, (S s), (s))
FORWARD(C_CancelFunction, (S s), (s))
FORWARD(C_WaitForSlotEvent, (CK_FLAGS f, CK_SLOT_ID *s, void *r), (f, s, r))
/* clang-format on */

static CK_RV faulty_C_GenerateKeyPair(S s, M m, A a, U n, A b, U l, O *o, O *p)
{
    const struct order order = before(F_C_GenerateKeyPair);

    if (order.refuses)
        return order.rv;
    const CK_RV rv = shim.real->C_GenerateKeyPair(s, m, a, n, b, l, o, p);
    return after(&order, outside(outside(rv, o, 1), p, 1));
}

static CK_RV faulty_C_FindObjects(S s, O *list, U max, N count)
{
    const struct order order = before(F_C_FindObjects);

    if (order.refuses)
        return order.rv;
    const CK_RV rv = shim.real->C_FindObjects(s, list, max, count);
    return after(&order, outside(rv, list, rv == CKR_OK ? *count : 0));
}

static CK_RV faulty_C_GenerateRandom(S s, B out, U len)
{
    const struct order order = before(F_C_GenerateRandom);

    if (order.refuses)
        return order.rv;
    const CK_RV rv = shim.real->C_GenerateRandom(s, out, len);
    if (order.constant && rv == CKR_OK)
        memset(out, 0x42, len);
    if (order.flips && rv == CKR_OK && len)
        out[len - 1] ^= 1;
    return after(&order, rv);
}

/* Every session counts against the limit until it is closed. */
static bool session_fits(void)
{
    (void)pthread_mutex_lock(&shim.mutex);
    const bool fits = shim.session_limit == 0 || shim.sessions < shim.session_limit;
    (void)pthread_mutex_unlock(&shim.mutex);
    return fits;
}

static void session_count(bool opened)
{
    (void)pthread_mutex_lock(&shim.mutex);
    shim.sessions = opened ? shim.sessions + 1 : shim.sessions - (shim.sessions > 0);
    (void)pthread_mutex_unlock(&shim.mutex);
}

static CK_RV faulty_C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY notify,
                                  S *ret)
{
    const struct order order = before(F_C_OpenSession);

    if (order.refuses)
        return order.rv;
    if (!session_fits())
        return CKR_SESSION_COUNT;
    const CK_RV rv = shim.real->C_OpenSession(slot, flags, app, notify, ret);
    if (rv == CKR_OK)
        session_count(true);
    return after(&order, rv);
}

static CK_RV faulty_C_CloseSession(S s)
{
    const struct order order = before(F_C_CloseSession);

    if (order.refuses)
        return order.rv;
    const CK_RV rv = shim.real->C_CloseSession(s);
    if (rv == CKR_OK)
        session_count(false);
    return after(&order, rv);
}

static void sessions_none(void)
{
    (void)pthread_mutex_lock(&shim.mutex);
    shim.sessions = 0;
    (void)pthread_mutex_unlock(&shim.mutex);
}

static CK_RV faulty_C_CloseAllSessions(CK_SLOT_ID slot)
{
    const struct order order = before(F_C_CloseAllSessions);

    if (order.refuses)
        return order.rv;
    sessions_none();
    return after(&order, shim.real->C_CloseAllSessions(slot));
}

static CK_RV faulty_C_Initialize(void *args)
{
    const struct order order = before(F_C_Initialize);

    if (order.refuses)
        return order.rv;
    const CK_RV rv = shim.real->C_Initialize(args);
    if (rv == CKR_OK)
        sessions_none();
    return after(&order, rv);
}

/* PIN */

static bool pin_locked(void)
{
    (void)pthread_mutex_lock(&shim.mutex);
    const bool locked = shim.pin_lock && counted(PIN_FAILURES) >= shim.pin_lock;
    (void)pthread_mutex_unlock(&shim.mutex);
    return locked;
}

static CK_RV faulty_C_Login(S s, CK_USER_TYPE user, B pin, U len)
{
    const struct order order = before(F_C_Login);

    if (order.refuses)
        return order.rv;
    if (pin_locked())
        return CKR_PIN_LOCKED;
    const CK_RV rv = shim.real->C_Login(s, user, pin, len);
    (void)pthread_mutex_lock(&shim.mutex);
    if (rv == CKR_OK)
        shim.logged_in = s;
    if (rv == CKR_OK || rv == CKR_PIN_INCORRECT)
        count_set(PIN_FAILURES, rv == CKR_OK ? 0 : counted(PIN_FAILURES) + 1);
    (void)pthread_mutex_unlock(&shim.mutex);
    return after(&order, rv);
}

static CK_RV faulty_C_GetInfo(CK_INFO *info)
{
    const struct order order = before(F_C_GetInfo);

    if (order.refuses)
        return order.rv;
    const CK_RV rv = shim.real->C_GetInfo(info);
    (void)pthread_mutex_lock(&shim.mutex);
    if (rv == CKR_OK && shim.maker[0])
        memcpy(info->manufacturerID, shim.maker, sizeof(info->manufacturerID));
    (void)pthread_mutex_unlock(&shim.mutex);
    return after(&order, rv);
}

static CK_RV faulty_C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    const struct order order = before(F_C_GetTokenInfo);

    if (order.refuses)
        return order.rv;
    const CK_RV rv = shim.real->C_GetTokenInfo(slot, info);
    (void)pthread_mutex_lock(&shim.mutex);
    const unsigned lock = shim.pin_lock, failures = counted(PIN_FAILURES);
    (void)pthread_mutex_unlock(&shim.mutex);
    if (rv == CKR_OK && lock && failures)
        info->flags |= CKF_USER_PIN_COUNT_LOW;
    if (rv == CKR_OK && lock && failures + 1 == lock)
        info->flags |= CKF_USER_PIN_FINAL_TRY;
    if (rv == CKR_OK && lock && failures >= lock)
        info->flags |= CKF_USER_PIN_LOCKED;
    return after(&order, rv);
}

/* Mechanisms */

static CK_MECHANISM_TYPE hidden(void)
{
    (void)pthread_mutex_lock(&shim.mutex);
    const CK_MECHANISM_TYPE type = shim.hidden;
    (void)pthread_mutex_unlock(&shim.mutex);
    return type;
}

static CK_RV faulty_C_GetMechanismInfo(CK_SLOT_ID slot, CK_MECHANISM_TYPE type,
                                       CK_MECHANISM_INFO *info)
{
    const struct order order = before(F_C_GetMechanismInfo);

    if (order.refuses)
        return order.rv;
    if (type == hidden())
        return CKR_MECHANISM_INVALID;
    return after(&order, shim.real->C_GetMechanismInfo(slot, type, info));
}

static CK_RV faulty_C_GetMechanismList(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, N count)
{
    const struct order order = before(F_C_GetMechanismList);

    if (order.refuses)
        return order.rv;
    const CK_RV rv = shim.real->C_GetMechanismList(slot, list, count);
    CK_ULONG kept = 0;
    for (CK_ULONG i = 0; rv == CKR_OK && list && i < *count; i++)
        if (list[i] != hidden())
            list[kept++] = list[i];
    if (rv == CKR_OK && list)
        *count = kept;
    return after(&order, rv);
}

/* The module */

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR ret);

static CK_FUNCTION_LIST list = { .version = { 2, 40 },
                                 .C_GetFunctionList = C_GetFunctionList,
#define X(name) .name = faulty_##name,
                                 FUNCTIONS(X)
#undef X
};

static CK_RV load(void)
{
    const char *const path = getenv("P11_FAULTS_MODULE");
    void *const library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR) = NULL;

    if (library == NULL)
        return CKR_GENERAL_ERROR;
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    shim.hidden = (CK_MECHANISM_TYPE)-1;
    open_counts();
    return get ? get(&shim.real) : CKR_GENERAL_ERROR;
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR ret)
{
    CK_RV rv = CKR_OK;

    (void)pthread_mutex_lock(&shim.mutex);
    if (shim.real == NULL)
        rv = load();
    (void)pthread_mutex_unlock(&shim.mutex);
    if (rv == CKR_OK)
        *ret = &list;
    return rv;
}
