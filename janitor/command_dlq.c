/* `janitor dlq`: the events that were refused, and publishing them again. The dead-letter topic is
 * only read, from its beginning to its end as of now, and by no group: nothing goes from it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "epufs/intent.h"
#include "janitor/commands.h"
#include "janitor/letter.h"
#include "janitor/view.h"

enum { PUBLISH_TIMEOUT_MS = 10000 };

const char *const dlq_classes[] = {"all", "parse", "schema", "authz", "exhausted", NULL};

/* ---- What is wanted ---- */

struct reading {
    struct call *call;
    size_t n_shown;  /* as JSON */
    size_t n;        /* published */
    bool *met;       /* by argument: whether it was there */
    const char *was; /* "published", "would be published" */
    int rc;
};

/* An argument that is no id would never be found. */
static int check_ids(const struct call *call, struct store_err *err)
{
    char shown[80];
    for (size_t i = 0; i < call->n_args; i++)
        if (!letter_is_id(call->args[i]))
            return store_err_set(
                err, STORE_INVALID,
                "dead letter '%s': expected PARTITION-OFFSET or "
                "TOPIC-PARTITION-OFFSET, as dlq list shows it",
                text_excerpt(call->args[i], strlen(call->args[i]), shown, sizeof(shown)));
    return 0;
}

static bool is_wanted(struct reading *r, const struct letter *l)
{
    const struct call *call = r->call;
    const char *class = dlq_classes[call->own->class];
    bool named = call->n_args == 0;
    for (size_t i = 0; i < call->n_args; i++) {
        if (!letter_has_id(l, call->args[i]))
            continue;
        named = r->met[i] = true;
    }
    return named && (call->own->class == 0 || strcmp(class, l->class) == 0);
}

/* ---- As JSON ---- */

/* As text where it is UTF-8, else as base64 under another name. */
static void put_bytes(json_t *o, const char *name, const char *bytes, size_t n)
{
    char other[80];
    bool is_text = !bytes || utf8_valid(bytes, n);
    intent_put(o, name, bytes && is_text ? json_stringn(bytes, n) : json_null());
    if (is_text)
        return;
    char *text = xmalloc(n / 3 * 4 + 5);
    base64_encode(bytes, n, text);
    snprintf(other, sizeof(other), "%.64s_base64", name);
    intent_put_text(o, other, text);
    free(text);
}

static json_t *letter_json(const struct letter *l)
{
    json_t *o = json_object();
    intent_put_text(o, "id", l->id);
    intent_put_text(o, "class", l->class);
    intent_put_text(o, "error", l->error);
    intent_put_text(o, "topic", l->topic);
    intent_put_text(o, "partition", l->partition);
    intent_put_text(o, "offset", l->offset);
    intent_put_text(o, "attempts", l->attempts);
    intent_put_text(o, "stored", l->stored);
    return o;
}

static json_t *whole_json(const struct letter *l)
{
    json_t *o = letter_json(l), *headers = json_array();
    for (size_t i = 0; i < l->n_headers; i++) {
        json_t *h = json_object();
        intent_put_text(h, "name", l->headers[i].name);
        put_bytes(h, "value", l->headers[i].value, l->headers[i].len);
        json_array_append_new(headers, h);
    }
    put_bytes(o, "key", l->key, l->key_len);
    put_bytes(o, "value", l->value, l->value_len);
    intent_put(o, "headers", headers);
    return o;
}

/* ---- Reading ---- */

/* Hands every letter to fn, and says which of the named ones there was none of. */
static int read_all(struct reading *r, bool (*fn)(void *user, const struct queue_msg *m))
{
    struct call *call = r->call;
    struct store_err err;
    if (check_ids(call, &err) != 0)
        return command_misused(call, &err);
    r->met = xcalloc(call->n_args + 1, sizeof(*r->met));
    if (queue_read_all(call->janitor.queue, QUEUE_DEADLETTER, fn, r,
                       (uint32_t)call->own->timeout_ms, &err) != 0)
        r->rc = command_failed(call, &err);
    for (size_t i = 0; i < call->n_args && r->rc == COMMAND_DONE; i++) {
        if (r->met[i])
            continue;
        store_err_set(&err, STORE_NOT_FOUND, "there is no dead letter %.120s in topic %.100s",
                      call->args[i], call->conf->deadletter_topic);
        r->rc = command_failed(call, &err);
    }
    free(r->met);
    r->met = NULL;
    return r->rc;
}

/* ---- List ---- */

static void print_row(const struct letter *l)
{
    char error[LETTER_TEXT], from[320], raw[320];
    snprintf(raw, sizeof(raw), "%s-%s-%s", l->topic, l->partition, l->offset);
    printf("%-10s  %-9s  %-32s  %s\n", l->place, *l->class ? l->class : "?",
           view_clean(raw, from, sizeof(from)), view_clean(l->error, error, sizeof(error)));
}

static bool list_one(void *user, const struct queue_msg *m)
{
    struct reading *r = user;
    struct letter l;
    letter_init(&l, m);
    bool wanted = is_wanted(r, &l);
    if (wanted && r->call->own->json)
        command_print_element(letter_json(&l), &r->n_shown);
    else if (wanted)
        print_row(&l);
    letter_cleanup(&l);
    return !ferror(stdout); /* such as a pager that was left */
}

int command_dlq_list(struct call *call)
{
    struct reading r = {.call = call};
    if (!call->own->json)
        printf("%-10s  %-9s  %-32s  %s\n", "ID", "CLASS", "FROM", "ERROR");
    int rc = read_all(&r, list_one);
    if (call->own->json)
        command_print_end(r.n_shown, rc != COMMAND_DONE);
    return rc;
}

/* ---- Show ---- */

static void print_field(const char *name, const char *value)
{
    size_t n = strlen(value) + 1;
    char *clean = xmalloc(n);
    printf("%-10s%s\n", name, view_clean(value, clean, n));
    free(clean);
}

/* What put_bytes() made of some bytes. */
static void print_bytes(const json_t *o, const char *key)
{
    char other[80];
    snprintf(other, sizeof(other), "%s_base64", key);
    const char *text = json_string_value(json_object_get(o, key));
    const char *base64 = json_string_value(json_object_get(o, other));
    print_field(base64 ? "base64" : "", base64 ? base64 : text ? text : "none");
}

static void print_letter(const struct letter *l)
{
    char from[320];
    json_t *o = whole_json(l);
    const json_t *h;
    size_t i;
    snprintf(from, sizeof(from), "%s, partition %s, offset %s", l->topic, l->partition, l->offset);
    print_field("id", l->id);
    print_field("class", l->class);
    print_field("error", l->error);
    print_field("from", from);
    print_field("attempts", l->attempts);
    if (*l->stored)
        print_field("stored", l->stored);
    json_array_foreach(json_object_get(o, "headers"), i, h)
    {
        print_field("header", json_string_value(json_object_get(h, "name")));
        print_bytes(h, "value");
    }
    print_field("key", "");
    print_bytes(o, "key");
    print_field("value", "");
    print_bytes(o, "value");
    json_decref(o);
}

static bool show_one(void *user, const struct queue_msg *m)
{
    struct reading *r = user;
    struct call *call = r->call;
    struct letter l;
    struct store_err err;
    letter_init(&l, m);
    bool wanted = is_wanted(r, &l);
    if (wanted && letter_fetch(&l, call->janitor.store, call->loop, &err) != 0)
        r->rc = command_failed(call, &err); /* what is known is shown all the same */
    if (wanted && call->own->json)
        command_print(whole_json(&l));
    else if (wanted)
        print_letter(&l);
    letter_cleanup(&l);
    return !wanted;
}

int command_dlq_show(struct call *call)
{
    struct reading r = {.call = call};
    return read_all(&r, show_one);
}

/* ---- Replay ---- */

static int publish(struct call *call, struct letter *l, struct store_err *err)
{
    if (letter_fetch(l, call->janitor.store, call->loop, err) != 0)
        return -1;
    if (call->own->dry_run)
        return 0;
    return queue_publish(call->janitor.queue, QUEUE_DELETIONS, l->key, l->key_len, l->value,
                         l->value_len, l->headers, l->n_headers, PUBLISH_TIMEOUT_MS, err);
}

static void tell(struct reading *r, const struct letter *l, const struct store_err *err)
{
    const char *result = err ? "failed" : r->was;
    char text[LETTER_TEXT];
    if (r->call->own->json) {
        json_t *o = letter_json(l);
        intent_put_text(o, "result", result);
        intent_put_text(o, "why", err ? err->msg : NULL);
        command_print_element(o, &r->n_shown);
    } else {
        printf("%-10s  %-9s  %s%s%s\n", l->place, *l->class ? l->class : "?", result,
               err ? ": " : "", err ? view_clean(err->msg, text, sizeof(text)) : "");
    }
}

static bool replay_one(void *user, const struct queue_msg *m)
{
    struct reading *r = user;
    struct letter l;
    struct store_err err;
    letter_init(&l, m);
    if (is_wanted(r, &l)) {
        bool failed = publish(r->call, &l, &err) != 0;
        tell(r, &l, failed ? &err : NULL);
        if (failed)
            r->rc = COMMAND_FAILED;
        else
            r->n++;
    }
    letter_cleanup(&l);
    return true;
}

int command_dlq_replay(struct call *call)
{
    const struct command_conf *own = call->own;
    struct store_err err;
    struct reading r = {.call = call, .was = own->dry_run ? "would be published" : "published"};
    if (call->n_args == 0 && own->class == 0 && !own->all) {
        store_err_set(&err, STORE_INVALID, "which ones? expected an ID, --class or --all");
        return command_misused(call, &err);
    }
    if (call->n_args > 0 && own->all) {
        store_err_set(&err, STORE_INVALID, "expected either IDs or --all");
        return command_misused(call, &err);
    }
    int rc = read_all(&r, replay_one);
    if (own->json)
        command_print_end(r.n_shown, rc != COMMAND_DONE);
    else if (rc != COMMAND_MISUSED)
        printf("%zu %s to %s; nothing was removed from %s, and a replay more is harmless\n", r.n,
               r.was, call->conf->deletions_topic, call->conf->deadletter_topic);
    return rc;
}
