#pragma once

/*
 * How a test program works p11_faults.c, which stands before SoftHSM: what shall go wrong, and how
 * often a function was called. One set of rules and of counts for the program, because the module
 * opens them once.
 */

#include "tests/support/softhsm.h"

#define RECOVERY_TRIES 1500 /* of 10 ms */

/* For run_group(): a folder for rules and counts. Without any rule all goes well. */
int faults_up(void **state);
int faults_down(void **state);

/* A configuration for the token behind the module; one session: if it got lost, all would stop. */
struct token_config faults_config(const struct softhsm *softhsm);

/* Replaces the rules, one in a line: "C_Login rv=0xa0 times=1". Starts the rules' own counting
 * anew. */
void faults_set(const char *rules);

/* Calls of a function since the program began; 0 before the module is loaded. */
unsigned faults_count(const char *function);
