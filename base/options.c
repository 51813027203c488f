/* A parse collects values from the sources in order, each overwriting the one before, and keeps
 * for every option which source had the last word. */
#include "base/options.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/options_private.h"
#include "base/xalloc.h"

enum { MAX_FILE = 1 << 20, MAX_NAME = 64, SHOWN_NAME = 64, SHOWN_FILE = 100 };

/* An option on the command line, whose turn comes after the other sources. */
struct setting {
    size_t position;
    char name[MAX_NAME]; /* a map's entry goes by it */
    const char *value;
};

struct parse {
    const struct options_spec *spec;
    void *values;
    enum option_source *sources; /* by position in all tables */
    const char *config_file;     /* NULL: none */
    bool help, markdown, version, print, check;
    struct setting *settings;
    size_t n_settings;
    char **args; /* words that are not options; NULL-terminated */
    size_t n_args;
    struct store_err *err;
};

/* ---- The tables ---- */

const struct option *options_at(const struct options_spec *spec, size_t position)
{
    for (size_t t = 0; spec->tables[t]; t++)
        for (const struct option *o = spec->tables[t]; o->name; o++)
            if (position-- == 0)
                return o;
    return NULL;
}

/* Whether o goes by this name, or is the map that has it for an entry. */
static bool goes_by(const struct option *o, const char *name)
{
    size_t n = strlen(o->name);
    if (o->type != OPT_MAP)
        return strcmp(o->name, name) == 0;
    return strncmp(o->name, name, n) == 0 && name[n];
}

static const struct option *find(const struct options_spec *spec, const char *name,
                                 size_t *position)
{
    const struct option *o;
    for (size_t i = 0; (o = options_at(spec, i)); i++) {
        *position = i;
        if (goes_by(o, name))
            return o;
    }
    return NULL;
}

/* One that a file or the environment may set. */
static const struct option *find_lasting(const struct options_spec *spec, const char *name,
                                         size_t *position)
{
    const struct option *o = find(spec, name, position);
    return o && !(o->flags & OPT_ARGS) ? o : NULL;
}

/* ---- Setting one option ---- */

/* name is the option's, or that of a map's entry. where names the place for messages, such as
 * "command line" or "a.conf line 3". */
static int set(struct parse *p, size_t position, const char *name, const char *text, size_t n,
               enum option_source source, const char *where)
{
    const struct option *o = options_at(p->spec, position);
    struct store_err cause;
    int rc = o->type == OPT_MAP ? option_map_set(o, p->values, name, text, n, source, &cause)
                                : option_set(o, p->values, text, n, &cause);
    if (rc != 0)
        return store_err_set(p->err, STORE_INVALID, "option %s (%s): %s", name, where, cause.msg);
    p->sources[position] = source;
    return 0;
}

/* Where the option, or the map's entry, has its value from so far. */
static enum option_source source_of(const struct parse *p, size_t position, const char *name)
{
    const struct option *o = options_at(p->spec, position);
    return o->type == OPT_MAP ? option_map_source(o, p->values, name) : p->sources[position];
}

static int unknown(struct parse *p, const char *what, const char *name, size_t n)
{
    char shown[SHOWN_NAME];
    return store_err_set(p->err, STORE_INVALID, "%s: there is no option '%s'; %s --help lists them",
                         what, text_excerpt(name, n, shown, sizeof(shown)), p->spec->program);
}

static void apply_defaults(struct parse *p)
{
    const struct option *o;
    for (size_t i = 0; (o = options_at(p->spec, i)); i++) {
        if (!o->dflt)
            continue;
        int failed = option_set(o, p->values, o->dflt, strlen(o->dflt), NULL);
        assert(!failed); /* a default that its own option refuses is our bug */
        (void)failed;
        p->sources[i] = *o->dflt ? OPTION_DEFAULT : OPTION_UNSET;
    }
}

/* ---- The file ---- */

static int read_file(const char *path, struct buf *out, struct store_err *err)
{
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return store_err_errno(err, errno, "cannot open the options file '%s'", path);
    while (buf_reserve(out, 4096) && (n = read(fd, out->data + out->len, 4096)) > 0)
        out->len += (size_t)n;
    int saved_errno = errno;
    close(fd);
    if (buf_failed(out))
        return store_err_set(err, STORE_INVALID, "the options file '%s' has more than %d bytes",
                             path, MAX_FILE);
    if (n < 0)
        return store_err_errno(err, saved_errno, "cannot read the options file '%s'", path);
    return 0;
}

static size_t trim(const char **s, size_t n)
{
    while (n && (*s)[n - 1] <= ' ' && (*s)[n - 1] > 0)
        n--;
    while (n && **s <= ' ' && **s > 0)
        (*s)++, n--;
    return n;
}

/* One line without its end. Setting an option twice in one file is a mistake that nobody sees
 * otherwise. */
static int apply_line(struct parse *p, const char *line, size_t n, const char *where)
{
    char name[MAX_NAME] = "";
    size_t position;
    n = trim(&line, n);
    if (n == 0 || *line == '#')
        return 0;
    const char *equals = memchr(line, '=', n);
    if (!equals)
        return store_err_set(p->err, STORE_INVALID, "%s: expected \"name = value\"", where);
    const char *key = line, *value = equals + 1;
    size_t key_len = trim(&key, (size_t)(equals - line));
    if (key_len < sizeof(name))
        memcpy(name, key, key_len);
    if (!find_lasting(p->spec, name, &position))
        return unknown(p, where, key, key_len);
    if (source_of(p, position, name) == OPTION_FILE)
        return store_err_set(p->err, STORE_INVALID, "%s: option %s is set a second time", where,
                             name);
    return set(p, position, name, value, (size_t)(line + n - value), OPTION_FILE, where);
}

static int apply_lines(struct parse *p, const char *text, size_t n)
{
    const char *end = text + n;
    char shown[SHOWN_FILE], where[SHOWN_FILE + 32];
    text_excerpt(p->config_file, strlen(p->config_file), shown, sizeof(shown));
    for (unsigned line_no = 1; text < end; line_no++) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text));
        if (!line_end)
            line_end = end;
        snprintf(where, sizeof(where), "%s line %u", shown, line_no);
        if (apply_line(p, text, (size_t)(line_end - text), where) != 0)
            return -1;
        text = line_end + 1;
    }
    return 0;
}

static int apply_file(struct parse *p)
{
    if (!p->config_file)
        return 0;
    struct buf text = BUF_INIT(MAX_FILE);
    int result = read_file(p->config_file, &text, p->err);
    if (result == 0)
        result = apply_lines(p, buf_str(&text), text.len);
    buf_cleanup(&text);
    return result;
}

/* ---- The environment ---- */

/* "EPUFS_DRAIN_TIMEOUT_MS" to "drain_timeout_ms", "EPUFS_KAFKA__CLIENT__ID" to "kafka.client.id",
 * since many shells take no dot in a variable's name. A lower-case letter makes it no option's
 * name. */
static bool name_from_env(const char *env, size_t n, char name[MAX_NAME])
{
    size_t len = 0;
    for (size_t i = strlen("EPUFS_"); i < n; i++) {
        char c = env[i];
        if ((c >= 'a' && c <= 'z') || len == MAX_NAME - 1)
            return false;
        if (c == '_' && i + 1 < n && env[i + 1] == '_') {
            c = '.';
            i++;
        }
        name[len++] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    name[len] = '\0';
    return true;
}

/* A variable that is no option is not ours to judge: the other programs of the family share the
 * environment, and Kubernetes sets EPUFS_READER_PORT and the like for a service's name. */
static int apply_variable(struct parse *p, const char *env)
{
    const char *equals = strchr(env, '=');
    size_t n = equals ? (size_t)(equals - env) : strlen(env), position;
    const char *value = equals ? equals + 1 : "";
    char name[MAX_NAME], where[2 * MAX_NAME + 32];
    if (!name_from_env(env, n, name) || !find_lasting(p->spec, name, &position))
        return 0;
    snprintf(where, sizeof(where), "environment variable %.*s", (int)n, env);
    return set(p, position, name, value, strlen(value), OPTION_ENV, where);
}

static int apply_environment(struct parse *p)
{
    for (char **e = environ; e && *e; e++)
        if (strncmp(*e, "EPUFS_", 6) == 0 && apply_variable(p, *e) != 0)
            return -1;
    return 0;
}

/* ---- The command line ---- */

/* An argument "--name" or "--name=value", taken apart. */
struct word {
    char name[MAX_NAME]; /* with '_' for '-' */
    const char *value;   /* NULL: none was given with '=' */
};

static bool split_word(const char *arg, struct word *w)
{
    const char *name = arg + 2, *equals = strchr(name, '=');
    size_t n = equals ? (size_t)(equals - name) : strlen(name);
    if (n == 0 || n >= sizeof(w->name))
        return false;
    for (size_t i = 0; i < n; i++)
        w->name[i] = name[i] == '-' ? '_' : name[i];
    w->name[n] = '\0';
    w->value = equals ? equals + 1 : NULL;
    return true;
}

/* The value behind '=' or, without one, the next argument; NULL: there is none. */
static const char *word_value(const struct word *w, int argc, char **argv, int *i)
{
    if (w->value)
        return w->value;
    if (*i + 1 >= argc || strncmp(argv[*i + 1], "--", 2) == 0)
        return NULL;
    return argv[++*i];
}

static int no_value(struct parse *p, const struct word *w)
{
    return store_err_set(p->err, STORE_INVALID, "option %s (command line): a value is missing",
                         w->name);
}

/* Options that every program has. Returns 1 when w was one, 0 when not, -1 on error. */
static int built_in(struct parse *p, const struct word *w, int argc, char **argv, int *i)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"help", &p->help},          {"help_markdown", &p->markdown}, {"version", &p->version},
        {"print_config", &p->print}, {"check_config", &p->check},
    };
    if (strcmp(w->name, "config") == 0) {
        p->config_file = word_value(w, argc, argv, i);
        return p->config_file && *p->config_file ? 1 : no_value(p, w);
    }
    for (size_t f = 0; f < LEN(flags); f++) {
        if (strcmp(w->name, flags[f].name) != 0)
            continue;
        if (w->value)
            return store_err_set(p->err, STORE_INVALID, "option %s takes no value", w->name);
        *flags[f].flag = true;
        return 1;
    }
    return 0;
}

/* The option that w names; *negated for a boolean's "no_" form. */
static const struct option *find_word(const struct options_spec *spec, const struct word *w,
                                      size_t *position, bool *negated)
{
    const struct option *o = find(spec, w->name, position);
    *negated = false;
    if (o || w->value || strncmp(w->name, "no_", 3) != 0)
        return o;
    o = find(spec, w->name + 3, position);
    *negated = true;
    return o && o->type == OPT_BOOL ? o : NULL;
}

static int take_option(struct parse *p, const struct word *w, int argc, char **argv, int *i)
{
    size_t position;
    bool negated;
    const char *arg = argv[*i];
    const struct option *o = find_word(p->spec, w, &position, &negated);
    if (!o)
        return unknown(p, "command line", arg, strcspn(arg, "="));
    const char *value;
    if (o->type == OPT_BOOL && !w->value)
        value = negated ? "false" : "true";
    else
        value = word_value(w, argc, argv, i);
    if (!value)
        return no_value(p, w);
    struct setting *s = &p->settings[p->n_settings++];
    *s = (struct setting){.position = position, .value = value};
    text_copy(s->name, sizeof(s->name), o->type == OPT_MAP ? w->name : o->name);
    return 0;
}

static int take_argument(struct parse *p, char *arg)
{
    char shown[SHOWN_NAME];
    if (!p->spec->usage)
        return store_err_set(
            p->err, STORE_INVALID, "command line: '%s' is unexpected; %s --help tells the usage",
            text_excerpt(arg, strlen(arg), shown, sizeof(shown)), p->spec->program);
    p->args[p->n_args++] = arg;
    return 0;
}

/* Reads the command line without setting values yet: it tells where the file is, but has the last
 * word. Behind a lone "--" everything is an argument. */
static int read_arguments(struct parse *p, int argc, char **argv)
{
    bool only_arguments = false;
    for (int i = 1; i < argc; i++) {
        struct word w;
        if (only_arguments || argv[i][0] != '-' || argv[i][1] == '\0') {
            if (take_argument(p, argv[i]) != 0)
                return -1;
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            only_arguments = true;
            continue;
        }
        if (argv[i][1] != '-' || !split_word(argv[i], &w))
            return unknown(p, "command line", argv[i], strcspn(argv[i], "="));
        int taken = built_in(p, &w, argc, argv, &i);
        if (taken < 0 || (taken == 0 && take_option(p, &w, argc, argv, &i) != 0))
            return -1;
    }
    return 0;
}

static int apply_settings(struct parse *p)
{
    for (size_t i = 0; i < p->n_settings; i++) {
        const struct setting *s = &p->settings[i];
        if (set(p, s->position, s->name, s->value, strlen(s->value), OPTION_ARGS, "command line") !=
            0)
            return -1;
    }
    return 0;
}

/* ---- All of it ---- */

static int check_required(struct parse *p)
{
    const struct option *o;
    for (size_t i = 0; (o = options_at(p->spec, i)); i++) {
        if (!(o->flags & OPT_REQUIRED))
            continue;
        if (p->sources[i] == OPTION_UNSET || option_is_unset_string(o, p->values))
            return store_err_set(p->err, STORE_INVALID,
                                 "option %s: a value is required, from the --config file, the "
                                 "environment or the command line",
                                 o->name);
    }
    return 0;
}

static void parse_init(struct parse *p, const struct options_spec *spec, int argc, void *values,
                       struct store_err *err)
{
    size_t n_options = 0, n_words = argc > 0 ? (size_t)argc : 0;
    while (options_at(spec, n_options))
        n_options++;
    *p = (struct parse){.spec = spec, .values = values, .err = err};
    p->sources = xcalloc(n_options, sizeof(*p->sources));
    p->settings = xcalloc(n_words, sizeof(*p->settings));
    p->args = xcalloc(n_words + 1, sizeof(*p->args));
}

static void parse_cleanup(struct parse *p)
{
    free(p->sources);
    free(p->settings);
    free(p->args);
}

/* All values from all sources. */
static int fill(struct parse *p)
{
    apply_defaults(p);
    if (apply_file(p) != 0 || apply_environment(p) != 0 || apply_settings(p) != 0)
        return -1;
    if (check_required(p) != 0)
        return -1;
    return p->spec->check ? p->spec->check(p->values, p->err) : 0;
}

static enum options_verdict run(struct parse *p, int argc, char **argv)
{
    if (read_arguments(p, argc, argv) != 0)
        return OPTIONS_EXIT_BAD;
    if (p->help) {
        (p->spec->help ? p->spec->help : options_help)(p->spec, stdout);
        return OPTIONS_EXIT_OK;
    }
    if (p->markdown) {
        options_markdown(p->spec, stdout);
        return OPTIONS_EXIT_OK;
    }
    if (p->version) {
        printf("%s %s\n", p->spec->program, EPUFS_VERSION);
        return OPTIONS_EXIT_OK;
    }
    if (fill(p) != 0)
        return OPTIONS_EXIT_BAD;
    if (p->print)
        options_print_sources(p->spec, p->values, p->sources, stdout);
    else if (p->check)
        printf("%s: the options are good\n", p->spec->program);
    return p->print || p->check ? OPTIONS_EXIT_OK : OPTIONS_RUN;
}

enum options_verdict options_parse(const struct options_spec *spec, int argc, char **argv,
                                   void *values, char ***args, struct store_err *err)
{
    struct parse p;
    parse_init(&p, spec, argc, values, err);
    enum options_verdict verdict = run(&p, argc, argv);
    if (args)
        *args = NULL;
    if (verdict != OPTIONS_RUN) {
        options_cleanup(spec, values);
    } else if (args) {
        *args = p.args;
        p.args = NULL;
    }
    parse_cleanup(&p);
    return verdict;
}

int options_reload(const struct options_spec *spec, int argc, char **argv, void *values,
                   struct store_err *err)
{
    struct parse p;
    parse_init(&p, spec, argc, values, err);
    int result = read_arguments(&p, argc, argv);
    if (result == 0)
        result = fill(&p);
    if (result != 0)
        options_cleanup(spec, values);
    parse_cleanup(&p);
    return result;
}

void options_cleanup(const struct options_spec *spec, void *values)
{
    const struct option *o;
    for (size_t i = 0; (o = options_at(spec, i)); i++) {
        if (o->type == OPT_MAP)
            option_map_cleanup(o, values);
        if (o->type != OPT_STRING)
            continue;
        char **value = (char **)(void *)((char *)values + o->offset);
        free(*value);
        *value = NULL;
    }
}
