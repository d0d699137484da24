#pragma once

/* A store in a temporary folder under a software MAC key, and records with awkward values. */

#include "hsmkms/crypto/digest.h"
#include "hsmkms/store/row.h"
#include "hsmkms/store/schema.h"
#include "hsmkms/store/store.h"

struct store_fixture {
    char dir[64], path[96];
    struct span key; /* of the MAC: a literal */
    struct store_mac mac;
    unsigned long signed_count;
};

/* In place: the MAC's context is the fixture's address. */
void store_fixture_init(struct store_fixture *fixture);
void store_fixture_done(struct store_fixture *fixture);

/* Opens the fixture's database, or fails the test. */
struct store *store_fixture_open(struct store_fixture *fixture);

/* Opens another file under the same key; NULL and err filled when it is refused. */
struct store *store_fixture_try(struct store_fixture *fixture, const char *path,
                                struct kms_error *err);

/* A record of any table; every seed gives another primary key and other values. */
void fill_record(const struct table *table, unsigned seed, void *ret);

/* A record's memory, zeroed and aligned, for the largest record. */
union any_record {
    struct installation_record installation;
    struct key_record key;
    struct version_record version;
    struct alias_record alias;
    struct tag_record tag;
    struct access_key_record access_key;
    struct account_record account;
    struct identity_record identity;
    struct managed_policy_record managed_policy;
    struct inline_policy_record inline_policy;
    struct attachment_record attachment;
    struct identity_tag_record identity_tag;
    struct sealing_key_record sealing_key;
    struct grant_record grant;
};

/* Commits rows of every table, seeds first..last, in one transaction. */
void commit_seeds(struct store *store, unsigned first, unsigned last);

/* Drops one seed's row of every table. */
void drop_seed(struct store *store, unsigned seed);

/* Appends all live records of all tables as canonical bytes: equal dumps are equal records. */
CHECKED int dump_store(struct store *store, struct buf *ret, struct kms_error *err);

/* Whole files. read_file fails the test when there is none. */
void read_file(const char *path, struct buf *ret);
void write_file(const char *path, struct span bytes);
/* Removes a database with its WAL and shared memory. */
void remove_database(const char *path);
