/* path.c - keys to paths and back; pure.
 *
 * A key's parts (between the slashes) become names of folders, and the last one that of a file.
 * A name may end in '%' and a letter that says what it is:
 *     x%o   the object x. Always there, so that the object "a" is a file "a%o" and stays out of
 *           the way of the folder "a" that "a/b" needs.
 *     x     the folder x
 *     x%d   the folder x too, for the few x that could not stand alone: "", ".", "..", and those
 *           that have a '%' before their last byte
 *     x%l   a folder for all parts that begin with x; x has FILE_PIECE bytes. Parts of FILE_PIECE
 *           bytes and more are cut so, since file systems take names of 255. What is left may be
 *           empty. Because every such part goes in there, also one that is not longer, nothing
 *           beside that folder sorts in between its contents: list.c relies on it.
 *     x%s   the store's own
 * Each key has exactly one path, and each path at most one key. */
#include "libstore/file/file.h"

#include <string.h>

static bool is_dots(const char *s, size_t n)
{
    return n <= 2 && memcmp(s, "..", n) == 0;
}

static bool looks_marked(const char *s, size_t n)
{
    return n >= 2 && s[n - 2] == '%';
}

/* Also true for "", which is_dots() counts in. */
static bool needs_mark(const char *s, size_t n)
{
    return is_dots(s, n) || looks_marked(s, n);
}

size_t file_name_encode(char path[FILE_PATH_MAX], size_t at, const char *piece, size_t piece_len,
                        enum file_kind kind)
{
    char mark = '\0';
    if (kind == FILE_OBJECT)
        mark = 'o';
    else if (kind == FILE_LONG)
        mark = 'l';
    else if (needs_mark(piece, piece_len))
        mark = 'd';
    if (at)
        path[at++] = '/';
    memcpy(path + at, piece, piece_len);
    at += piece_len;
    if (mark) {
        path[at++] = '%';
        path[at++] = mark;
    }
    path[at] = '\0';
    return at;
}

/* Appends the folders for as much of a part as has to be cut off. */
static size_t encode_cuts(char path[FILE_PATH_MAX], size_t at, const char **part, size_t *len)
{
    while (*len >= FILE_PIECE) {
        at = file_name_encode(path, at, *part, FILE_PIECE, FILE_LONG);
        *part += FILE_PIECE;
        *len -= FILE_PIECE;
    }
    return at;
}

/* Appends the folders for all parts that a slash follows. Returns the new length or -1; *rest: what
 * is behind the last slash. */
static ssize_t encode_folders(const char *key, char path[FILE_PATH_MAX], const char **rest)
{
    size_t at = 0;
    path[0] = '\0';
    if (strlen(key) > STORE_MAX_KEY)
        return -1;
    for (const char *slash; (slash = strchr(key, '/')); key = slash + 1) {
        const char *part = key;
        size_t len = (size_t)(slash - key);
        if (is_dots(part, len))
            return -1;
        at = encode_cuts(path, at, &part, &len);
        at = file_name_encode(path, at, part, len, FILE_FOLDER);
    }
    *rest = key;
    return (ssize_t)at;
}

ssize_t file_path_of_key(const char *key, char path[FILE_PATH_MAX], size_t *dir_len)
{
    const char *part;
    ssize_t folders = encode_folders(key, path, &part);
    if (folders < 0)
        return -1;
    size_t len = strlen(part);
    if (is_dots(part, len))
        return -1;
    *dir_len = encode_cuts(path, (size_t)folders, &part, &len);
    return (ssize_t)file_name_encode(path, *dir_len, part, len, FILE_OBJECT);
}

ssize_t file_path_of_prefix(const char *prefix, char path[FILE_PATH_MAX], size_t *covered,
                            bool *in_long)
{
    const char *part;
    ssize_t folders = encode_folders(prefix, path, &part);
    if (folders < 0)
        return -1;
    size_t len = strlen(part);
    size_t at = encode_cuts(path, (size_t)folders, &part, &len);
    *covered = (size_t)(part - prefix);
    *in_long = at != (size_t)folders;
    return (ssize_t)at;
}

enum file_kind file_name_decode(const char *name, bool in_long, size_t *piece_len)
{
    size_t n = strlen(name);
    enum file_kind kind = FILE_FOLDER;
    *piece_len = n;
    if (looks_marked(name, n)) {
        *piece_len = n -= 2;
        switch (name[n + 1]) {
        case 'o': kind = FILE_OBJECT; break;
        case 'd': kind = needs_mark(name, n) ? FILE_FOLDER : FILE_FOREIGN; break;
        case 'l': return n == FILE_PIECE ? FILE_LONG : FILE_FOREIGN;
        default: return FILE_FOREIGN;
        }
    } else if (is_dots(name, n)) {
        return FILE_FOREIGN; /* the real "." and ".." */
    }
    /* As a whole part these cannot be; as the end of a cut one they can. */
    if (is_dots(name, n) && !in_long)
        return FILE_FOREIGN;
    return n < FILE_PIECE ? kind : FILE_FOREIGN;
}
