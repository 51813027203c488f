#include "janitor/letter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/xalloc.h"
#include "epufs/intent.h"

#define OWN_PREFIX "dlq-"

enum { MAX_STORED_BYTES = 64 << 20 }; /* base64 of the largest message that a broker may take */

/* ---- The message ---- */

static bool is_own(const struct event_header *h)
{
    return strncmp(h->name, OWN_PREFIX, strlen(OWN_PREFIX)) == 0;
}

/* The first of a name counts: that is the janitor's own, should the message have been a dead letter
 * before. */
static void take_own(struct letter *l, const struct event_header *h)
{
    const struct {
        const char *name;
        char *out;
        size_t size;
    } texts[] = {
        {"class", l->class, sizeof(l->class)},    {"error", l->error, sizeof(l->error)},
        {"topic", l->topic, sizeof(l->topic)},    {"partition", l->partition, sizeof(l->partition)},
        {"offset", l->offset, sizeof(l->offset)}, {"attempts", l->attempts, sizeof(l->attempts)},
        {"stored", l->stored, sizeof(l->stored)},
    };
    for (size_t i = 0; i < LEN(texts); i++) {
        if (strcmp(h->name + strlen(OWN_PREFIX), texts[i].name) != 0 || *texts[i].out || !h->value)
            continue;
        size_t n = h->len < texts[i].size ? h->len : texts[i].size - 1;
        memcpy(texts[i].out, h->value, n);
        texts[i].out[n] = '\0';
    }
}

void letter_init(struct letter *l, const struct queue_msg *m)
{
    *l = (struct letter){
        .key = m->key, .key_len = m->key_len, .value = m->value, .value_len = m->value_len};
    snprintf(l->place, sizeof(l->place), "%d-%lld", m->partition, (long long)m->offset);
    snprintf(l->id, sizeof(l->id), "%.250s-%s", m->topic, l->place);
    l->headers = xcalloc(m->n_headers + 1, sizeof(*l->headers));
    for (size_t i = 0; i < m->n_headers; i++) {
        if (is_own(&m->headers[i]))
            take_own(l, &m->headers[i]);
        else
            l->headers[l->n_headers++] = m->headers[i];
    }
}

static void forget_stored(struct letter *l)
{
    for (size_t i = 0; i < l->n_owned; i++)
        free(l->owned[i]);
    free(l->owned);
    l->owned = NULL;
    l->n_owned = 0;
    json_decref(l->text);
    l->text = NULL;
}

void letter_cleanup(struct letter *l)
{
    forget_stored(l);
    free(l->headers);
    l->headers = NULL;
    l->n_headers = 0;
}

/* ---- In the bucket ---- */

/* Padded base64 by way of base64url, whose decoder is strict. The letter owns the result. */
static bool decode(struct letter *l, const json_t *text, const char **out, size_t *n)
{
    *out = NULL;
    *n = 0;
    if (!text || json_is_null(text))
        return text != NULL;
    if (!json_is_string(text))
        return false;
    size_t len = json_string_length(text);
    char *copy = xstrdup(json_string_value(text)), *bytes = xmalloc(len + 1);
    for (size_t i = 0; i < len; i++)
        copy[i] = copy[i] == '+' ? '-' : copy[i] == '/' ? '_' : copy[i];
    for (size_t pads = 0; pads < 2 && len > 0 && copy[len - 1] == '='; pads++)
        len--;
    ssize_t got = base64url_decode(copy, len, bytes, len + 1);
    free(copy);
    l->owned[l->n_owned++] = bytes;
    *out = bytes;
    *n = got < 0 ? 0 : (size_t)got;
    return got >= 0;
}

static bool decode_header(struct letter *l, const json_t *o, struct event_header *h)
{
    h->name = json_string_value(json_object_get(o, "name"));
    return h->name && decode(l, json_object_get(o, "value_base64"), &h->value, &h->len);
}

int letter_from_json(struct letter *l, const char *json, size_t n, struct store_err *err)
{
    forget_stored(l);
    l->text = json_loadb(json, n, 0, NULL);
    const json_t *headers = json_object_get(l->text, "headers");
    size_t n_headers = json_array_size(headers);
    l->owned = xcalloc(n_headers + 2, sizeof(*l->owned));
    free(l->headers);
    l->headers = xcalloc(n_headers + 1, sizeof(*l->headers));
    l->n_headers = 0;
    bool ok = json_is_array(headers) &&
              decode(l, json_object_get(l->text, "key_base64"), &l->key, &l->key_len) &&
              decode(l, json_object_get(l->text, "value_base64"), &l->value, &l->value_len);
    for (size_t i = 0; ok && i < n_headers; i++) {
        struct event_header *h = &l->headers[l->n_headers];
        ok = decode_header(l, json_array_get(headers, i), h);
        l->n_headers += ok && !is_own(h);
    }
    if (ok)
        return 0;
    return store_err_set(err, STORE_INVALID,
                         "dead letter %s: %.100s in the bucket is not what a janitor writes there",
                         l->id, l->stored);
}

int letter_fetch(struct letter *l, store *s, store_loop *loop, struct store_err *err)
{
    void *bytes;
    size_t n;
    if (!*l->stored || l->text)
        return 0;
    if (strncmp(l->stored, LAYOUT_DEAD_LETTERS, strlen(LAYOUT_DEAD_LETTERS)) != 0)
        return store_err_set(err, STORE_INVALID,
                             "dead letter %s: header dlq-stored is '%.80s'; expected a key below "
                             "%s",
                             l->id, l->stored, LAYOUT_DEAD_LETTERS);
    if (store_sync_get(s, loop, l->stored, MAX_STORED_BYTES, &bytes, &n, NULL, err) != 0)
        return -1;
    int rc = letter_from_json(l, bytes, n, err);
    free(bytes);
    return rc;
}

/* ---- Ids ---- */

/* The digits at the end of s[0..n), and the '-' before them if there is one; 0: there are none. */
static size_t number_at_end(const char *s, size_t n)
{
    size_t digits = 0;
    while (digits < n && s[n - digits - 1] >= '0' && s[n - digits - 1] <= '9')
        digits++;
    return digits;
}

bool letter_is_id(const char *text)
{
    size_t n = strlen(text), digits = number_at_end(text, n);
    if (digits == 0 || digits == n || text[n - digits - 1] != '-')
        return false;
    n -= digits + 1;
    digits = number_at_end(text, n);
    return digits > 0 && (digits == n || text[n - digits - 1] == '-') && digits + 1 != n;
}

bool letter_has_id(const struct letter *l, const char *text)
{
    size_t n = strlen(text), all = strlen(l->id);
    if (n > all || strcmp(l->id + all - n, text) != 0)
        return false;
    if (n == all)
        return true;
    /* Without the topic, but with the whole partition. */
    size_t offset = number_at_end(text, n);
    size_t partition = number_at_end(text, n - offset - 1);
    return l->id[all - n - 1] == '-' && offset + 1 + partition == n;
}
