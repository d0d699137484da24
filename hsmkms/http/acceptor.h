#pragma once

/*
 * One thread accepts for all listeners and deals connections out to the epoll workers in turn.
 * Left to themselves, whichever worker wakes first takes the connection, and a few long-lived
 * ones all end up on one worker. A thread of our own also counts all connections in one place and
 * can stop accepting without touching a running daemon.
 */

#include "hsmkms/http/listener.h"

#define ACCEPTOR_LISTENERS 4

struct acceptor;

/* listeners: count of them, 1 to ACCEPTOR_LISTENERS; borrowed until acceptor_stop(). */
CHECKED int acceptor_start(struct listener *const *listeners, size_t count,
                           struct listener_shared *shared, struct acceptor **ret,
                           struct kms_error *err);

/* Accepts no more. Accepts NULL. */
void acceptor_stop(struct acceptor *acceptor);
