/* Settings that are collected by their names. A map has few entries, so they are looked for one by
 * one. */
#include <stdlib.h>
#include <string.h>

#include "base/options_private.h"
#include "base/xalloc.h"

static struct option_entry **map_of(const struct option *o, void *values)
{
    return (struct option_entry **)(void *)((char *)values + o->offset);
}

const struct option_entry *option_map_entries(const struct option *o, const void *values)
{
    return *(struct option_entry *const *)(const void *)((const char *)values + o->offset);
}

bool options_is_secret_entry(const struct option *map, const char *name)
{
    static const char file[] = "_file";
    size_t n = strlen(name), suffix = sizeof(file) - 1;
    if (map->flags & OPT_SECRET)
        return true;
    if (n >= suffix && strcmp(name + n - suffix, file) == 0)
        return false;
    for (size_t i = 0; map->choices && map->choices[i]; i++)
        if (strstr(name, map->choices[i]))
            return true;
    return false;
}

/* The entry of that name, or NULL; *count gets how many there are. */
static struct option_entry *find(struct option_entry *map, const char *name, size_t *count)
{
    struct option_entry *found = NULL;
    for (*count = 0; map && map[*count].name; (*count)++)
        if (strcmp(map[*count].name, name) == 0)
            found = &map[*count];
    return found;
}

static struct option_entry *find_or_add(struct option_entry **map, const char *name)
{
    size_t n;
    struct option_entry *e = find(*map, name, &n);
    if (e)
        return e;
    *map = xrealloc(*map, (n + 2) * sizeof(**map));
    (*map)[n] = (struct option_entry){.name = xstrdup(name)};
    (*map)[n + 1] = (struct option_entry){.name = NULL};
    return &(*map)[n];
}

int option_map_set(const struct option *o, void *values, const char *name, const char *text,
                   size_t n, enum option_source source, struct store_err *err)
{
    char *value = NULL;
    const char *key = name + strlen(o->name);
    const struct option one = {
        .name = name,
        .type = OPT_STRING,
        .flags = options_is_secret_entry(o, key) ? OPT_SECRET : 0,
    };
    if (option_set(&one, &value, text, n, err) != 0)
        return -1;
    struct option_entry *e = find_or_add(map_of(o, values), key);
    free(e->value);
    e->value = value ? value : xstrdup("");
    e->source = (int)source;
    return 0;
}

enum option_source option_map_source(const struct option *o, const void *values, const char *name)
{
    const char *key = name + strlen(o->name);
    const struct option_entry *e = option_map_entries(o, values);
    for (; e && e->name; e++)
        if (strcmp(e->name, key) == 0)
            return (enum option_source)e->source;
    return OPTION_UNSET;
}

void option_map_cleanup(const struct option *o, void *values)
{
    struct option_entry **map = map_of(o, values);
    for (struct option_entry *e = *map; e && e->name; e++) {
        free(e->name);
        free(e->value);
    }
    free(*map);
    *map = NULL;
}
