/* listen.h - the socket that a service listens on: TCP or Unix-domain. */
#ifndef SERVICE_LISTEN_H
#define SERVICE_LISTEN_H

#include <store/error.h>

enum { LISTEN_ADDRESS_SIZE = 128 };

/* "host:port", "[v6]:port"; port 0: a free one. No SO_REUSEPORT, which would hide a forgotten
 * process on the same port. Or "unix:/path", at most 107 bytes of it: for the owner and the group
 * of this process only. A socket that a dead process left there is replaced; one that is listened
 * on, and any other file, is an error.
 *
 * bound (may be NULL) gets the address as it really is. Returns the fd, non-blocking, or -1 with
 * *err set. */
int listen_open(const char *address, char bound[LISTEN_ADDRESS_SIZE], struct store_err *err);

/* Also removes a Unix-domain socket's file. Nothing for -1. */
void listen_close(int fd);

#endif
