#include "storectl/place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/xalloc.h"

static const char s3_scheme[] = "s3://", file_scheme[] = "file://";

static bool begins_with(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

bool place_is_store(const char *word)
{
    return word[0] == ':' || begins_with(word, s3_scheme) || begins_with(word, file_scheme);
}

/* How many bytes of a URL are the store's; *key: what follows. */
static size_t split_url(const char *word, const char **key)
{
    if (begins_with(word, s3_scheme)) {
        size_t n = strlen(s3_scheme) + strcspn(word + strlen(s3_scheme), "/");
        *key = word[n] ? word + n + 1 : word + n;
        return n;
    }
    const char *end = strstr(word + strlen(file_scheme), "//");
    *key = end ? end + 2 : word + strlen(word);
    return end ? (size_t)(end - word) : strlen(word);
}

/* store_open() makes a folder that is missing; who only reads would rather hear of the typo. */
static int check_folder(const char *url, struct store_err *err)
{
    const char *folder = url + strlen(file_scheme);
    if (!begins_with(url, file_scheme) || folder[0] != '/' || access(folder, F_OK) == 0)
        return 0;
    return store_err_errno(err, errno, "folder %.150s", folder);
}

static int open_once(struct places *all, char *url, bool create, store **out, struct store_err *err)
{
    for (size_t i = 0; i < all->n; i++)
        if (strcmp(all->opened[i].url, url) == 0) {
            *out = all->opened[i].store;
            free(url);
            return 0;
        }
    struct opened o = {.url = url};
    if (all->n == LEN(all->opened)) {
        store_err_set(err, STORE_INVALID, "'%.150s': expected places of at most %zu stores", url,
                      LEN(all->opened));
    } else if ((create || check_folder(url, err) == 0) &&
               store_open(url, all->conf, &o.store, err) == 0) {
        all->opened[all->n++] = o;
        *out = o.store;
        return 0;
    }
    free(url);
    return -1;
}

int place_parse(struct places *all, const char *word, bool create, struct place *p,
                struct store_err *err)
{
    *p = (struct place){0};
    const char *key = word;
    char *url = NULL;
    if (!*word)
        return store_err_set(err, STORE_INVALID, "'': expected a place");
    if (word[0] == ':') {
        if (!all->default_url)
            return store_err_set(err, STORE_INVALID,
                                 "'%.150s': expected --store or $STORECTL_STORE with it", word);
        key = word + 1;
        url = xstrdup(all->default_url);
    } else if (place_is_store(word)) {
        size_t n = split_url(word, &key);
        url = xstrndup(word, n);
    }
    if (url && open_once(all, url, create, &p->store, err) != 0)
        return -1;
    p->name = xstrdup(key);
    return 0;
}

void place_cleanup(struct place *p)
{
    free(p->name);
    p->name = NULL;
}

void places_close(struct places *all)
{
    for (size_t i = 0; i < all->n; i++) {
        store_close(all->opened[i].store);
        free(all->opened[i].url);
    }
    all->n = 0;
}

void place_make_prefix(struct place *p)
{
    size_t n = strlen(p->name);
    if (n == 0 || p->name[n - 1] == '/')
        return;
    p->name = xrealloc(p->name, n + 2);
    p->name[n] = '/';
    p->name[n + 1] = '\0';
}

const char *name_base(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}
