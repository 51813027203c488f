/* The words of a command line, before its options are read. */
#include <string.h>

#include "base/options.h"

/* Whether the n characters behind the dashes are the name, with '-' for '_'. */
static bool is_name(const char *s, size_t n, const char *name)
{
    size_t i = 0;
    for (; i < n && name[i]; i++)
        if ((s[i] == '-' ? '_' : s[i]) != name[i])
            return false;
    return i == n && !name[i];
}

static const struct option *find(const struct option *const *tables, const char *s, size_t n)
{
    for (; *tables; tables++)
        for (const struct option *o = *tables; o->name; o++)
            if (is_name(s, n, o->name))
                return o;
    return NULL;
}

/* Whether the option "--name" stands alone: the built-in flags and booleans do. */
static bool stands_alone(const struct option *const *tables, const char *name)
{
    static const char *const flags[] = {"help", "help_markdown", "version", "print_config",
                                        "check_config"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (is_name(name, n, flags[i]))
            return true;
    const struct option *o = find(tables, name, n);
    if (!o && n > 3 && is_name(name, 3, "no_"))
        o = find(tables, name + 3, n - 3);
    return o && o->type == OPT_BOOL;
}

size_t options_words(const struct option *const *tables, int argc, char **argv, const char **words,
                     size_t room)
{
    size_t n = 0;
    bool only_words = false;
    for (int i = 1; i < argc && n < room; i++) {
        const char *arg = argv[i];
        if (only_words || arg[0] != '-' || arg[1] == '\0')
            words[n++] = arg;
        else if (strcmp(arg, "--") == 0)
            only_words = true;
        else if (!strchr(arg, '=') && arg[1] == '-' && !stands_alone(tables, arg + 2) &&
                 i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0)
            i++;
    }
    return n;
}
