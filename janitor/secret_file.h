/* secret_file.h - a password or key that stands in a file, as secret managers put it there. */
#ifndef JANITOR_SECRET_FILE_H
#define JANITOR_SECRET_FILE_H

#include <store/error.h>

enum { SECRET_FILE_MAX = 64 * 1024 };

/* The file's text without the line feed (or CR LF) at its end; to be ended with
 * secret_file_forget(). NULL with *err set, which names the file and never its content: it cannot
 * be read, is empty, has more than SECRET_FILE_MAX bytes or holds a NUL (STORE_INVALID). */
char *secret_file_read(const char *path, struct store_err *err);
void secret_file_forget(char *secret); /* wipes and frees; NULL is fine */

#endif
