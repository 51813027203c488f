#include <stdio.h>
#include <string.h>

#include "base/xalloc.h"
#include "janitor/janitor.h"

enum { OWN_HEADERS = 6, MAX_HEADERS = 64, PUBLISH_TIMEOUT_MS = 10000 };

static struct event_header text_header(const char *name, const char *value)
{
    return (struct event_header){name, value, strlen(value)};
}

int dead_letter(struct janitor *j, const struct queue_msg *m, enum event_class class,
                const char *error, unsigned attempts, struct store_err *err)
{
    struct event_header headers[OWN_HEADERS + MAX_HEADERS];
    char partition[16], offset[24], tries[16];
    size_t n = 0;
    snprintf(partition, sizeof(partition), "%d", m->partition);
    snprintf(offset, sizeof(offset), "%lld", (long long)m->offset);
    snprintf(tries, sizeof(tries), "%u", attempts);
    headers[n++] = text_header("dlq-topic", m->topic);
    headers[n++] = text_header("dlq-partition", partition);
    headers[n++] = text_header("dlq-offset", offset);
    headers[n++] = text_header("dlq-class", event_class_name(class));
    headers[n++] = text_header("dlq-error", error);
    headers[n++] = text_header("dlq-attempts", tries);
    for (size_t i = 0; i < m->n_headers && n < LEN(headers); i++)
        headers[n++] = m->headers[i];
    return queue_publish(j->queue, QUEUE_DEADLETTER, m->key, m->key_len, m->value, m->value_len,
                         headers, n, PUBLISH_TIMEOUT_MS, err);
}
