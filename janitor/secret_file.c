#include "janitor/secret_file.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "base/read_file.h"
#include "base/xalloc.h"

static int check(const char *path, const char *text, size_t len, struct store_err *err)
{
    if (len > SECRET_FILE_MAX)
        return store_err_set(err, STORE_INVALID, "the secret's file '%s' has more than %d bytes",
                             path, SECRET_FILE_MAX);
    if (memchr(text, '\0', len))
        return store_err_set(err, STORE_INVALID, "the secret's file '%s' holds a NUL", path);
    return 0;
}

char *secret_file_read(const char *path, struct store_err *err)
{
    char *text = xmalloc(SECRET_FILE_MAX + 2);
    ssize_t got = read_file_head(path, text, SECRET_FILE_MAX + 1);
    int failed = 0;
    if (got < 0)
        failed = store_err_errno(err, errno, "cannot read the secret's file '%s'", path);
    else
        failed = check(path, text, (size_t)got, err);
    size_t len = failed ? 0 : (size_t)got;
    if (len && text[len - 1] == '\n')
        len -= len > 1 && text[len - 2] == '\r' ? 2 : 1;
    if (!failed && len == 0)
        failed = store_err_set(err, STORE_INVALID, "the secret's file '%s' is empty", path);
    char *secret = failed ? NULL : xstrndup(text, len);
    OPENSSL_cleanse(text, SECRET_FILE_MAX + 2);
    free(text);
    return secret;
}

void secret_file_forget(char *secret)
{
    if (secret)
        OPENSSL_cleanse(secret, strlen(secret));
    free(secret);
}
