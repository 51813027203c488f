#include "bench/fake_small.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/xalloc.h"

static bool reached(const char *key, enum fake_seek how, const char *text)
{
    int order = how == FAKE_PAST ? strncmp(key, text, strlen(text)) : strcmp(key, text);
    return how == FAKE_FROM ? order >= 0 : order > 0;
}

size_t fake_small_seek(const struct fake_small *small, enum fake_seek how, const char *text)
{
    size_t low = 0, high = small->n; /* the first that is reached lies in [low, high] */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (reached(small->objects[middle]->key, how, text))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static bool is_at(const struct fake_small *small, size_t i, const char *key)
{
    return i < small->n && strcmp(small->objects[i]->key, key) == 0;
}

const struct fake_object *fake_small_get(const struct fake_small *small, const char *key)
{
    size_t i = fake_small_seek(small, FAKE_FROM, key);
    return is_at(small, i, key) ? small->objects[i] : NULL;
}

/* One block holds all of it. */
static struct fake_object *object_new(const char *key, const char *data, size_t len)
{
    size_t key_size = strlen(key) + 1;
    struct fake_object *o = xmalloc(sizeof(*o) + key_size + len);
    char *text = (char *)(o + 1);
    memcpy(text, key, key_size);
    if (len)
        memcpy(text + key_size, data, len);
    *o = (struct fake_object){.key = text, .data = text + key_size, .len = len};
    return o;
}

static void make_room(struct fake_small *small, size_t i)
{
    if (small->n == small->cap) {
        small->cap = small->cap ? 2 * small->cap : 64;
        small->objects = xrealloc(small->objects, small->cap * sizeof(struct fake_object *));
    }
    memmove(small->objects + i + 1, small->objects + i,
            (small->n - i) * sizeof(struct fake_object *));
    small->n++;
}

const struct fake_object *fake_small_put(struct fake_small *small, const char *key,
                                         const char *data, size_t len)
{
    if (strlen(key) > FAKE_SMALL_MAX_KEY || len > FAKE_SMALL_MAX_BYTES || !fake_keys_plain(key))
        return NULL;
    size_t i = fake_small_seek(small, FAKE_FROM, key);
    if (is_at(small, i, key))
        free(small->objects[i]);
    else
        make_room(small, i);
    struct fake_object *o = object_new(key, data, len);
    o->modified_s = clock_real_s();
    snprintf(o->etag, sizeof(o->etag), "%032" PRIx64 "-1", ++small->written);
    small->objects[i] = o;
    return o;
}

bool fake_small_remove(struct fake_small *small, const char *key)
{
    size_t i = fake_small_seek(small, FAKE_FROM, key);
    if (!is_at(small, i, key))
        return false;
    free(small->objects[i]);
    small->n--;
    memmove(small->objects + i, small->objects + i + 1,
            (small->n - i) * sizeof(struct fake_object *));
    return true;
}

void fake_small_cleanup(struct fake_small *small)
{
    for (size_t i = 0; i < small->n; i++)
        free(small->objects[i]);
    free(small->objects);
    *small = (struct fake_small){0};
}
