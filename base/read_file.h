/* read_file.h - the beginning of a file. Thread-safe. */
#ifndef BASE_READ_FILE_H
#define BASE_READ_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* Reads up to cap bytes, and less only at the file's end. Returns how many, or -1 with errno set.
 * What is there is not wiped on failure. */
ssize_t read_file_head(const char *path, char *out, size_t cap);

#endif
