#include "libstore/s3/keys.h"

#include <stdlib.h>
#include <string.h>

void secret_free(char **secret)
{
    if (*secret)
        explicit_bzero(*secret, strlen(*secret));
    free(*secret);
    *secret = NULL;
}

void secret_buf_cleanup(struct buf *b)
{
    if (b->data)
        explicit_bzero(b->data, b->cap);
    buf_cleanup(b);
}

static bool is_printable(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7f)
            return false;
    return true;
}

const char *keys_problem(const char *access_key, const char *secret_key, const char *session_token)
{
    if (!access_key || !*access_key)
        return "the access key is missing";
    if (!secret_key || !*secret_key)
        return "the secret key is missing";
    if (!is_printable(access_key))
        return "the access key is malformed";
    if (!is_printable(secret_key))
        return "the secret key is malformed";
    if (session_token && !is_printable(session_token))
        return "the session token is malformed";
    return NULL;
}

int keys_set(struct keys *k, const char *access_key, const char *secret_key,
             const char *session_token, struct store_err *err)
{
    keys_wipe(k);
    k->access_key = strdup(access_key);
    k->secret_key = strdup(secret_key);
    if (session_token && *session_token)
        k->session_token = strdup(session_token);
    if (k->access_key && k->secret_key && (k->session_token || !session_token || !*session_token))
        return 0;
    keys_wipe(k);
    return store_err_set(err, STORE_NO_MEMORY, "credentials: out of memory");
}

void keys_wipe(struct keys *k)
{
    secret_free(&k->access_key);
    secret_free(&k->secret_key);
    secret_free(&k->session_token);
    k->valid_ms = 0;
}

void keys_move(struct keys *to, struct keys *from)
{
    keys_wipe(to);
    *to = *from;
    *from = (struct keys){0};
}
