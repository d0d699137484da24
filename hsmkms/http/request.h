#pragma once

/*
 * The callbacks of the HTTP daemon for one request: its first line, its headers, its body in
 * pieces, its end, its answer. All run in the epoll worker that owns the connection.
 */

#include <microhttpd.h>

#include "hsmkms/http/listener.h"

struct request_handler {
    const char *listener; /* its name */
    const struct http_door *doors;
    struct service *service;
    struct listener_shared *shared;
};

/* MHD_OPTION_URI_LOG_CALLBACK: the target before anything decodes it; returns the exchange. */
void *request_line(void *handler, const char *target, struct MHD_Connection *connection);

/* MHD_AccessHandlerCallback. */
enum MHD_Result request_part(void *handler, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *upload,
                             size_t *upload_len, void **exchange);

/* MHD_OPTION_NOTIFY_COMPLETED. */
void request_done(void *handler, struct MHD_Connection *connection, void **exchange,
                  enum MHD_RequestTerminationCode how);
