#include <string.h>

#include "janitor/janitor.h"

int publish_event(struct janitor *j, enum queue_topic topic, const char *tenant,
                  const struct buf *event, uint32_t timeout_ms, struct store_err *err)
{
    static const char type[] = "application/cloudevents+json";
    static const struct event_header header = {"content-type", type, sizeof(type) - 1};
    return queue_publish(j->queue, topic, tenant, strlen(tenant), event->data, event->len, &header,
                         1, timeout_ms, err);
}
