/* Help, printed values, and the manual's table. */
#include <string.h>

#include "base/options_private.h"

enum { MAX_VALUE = 4096, HELP_WIDTH = 80, HELP_INDENT = 6 };

static const struct {
    const char *usage, *help;
} built_ins[] = {
    {"--config=FILE", "Read options from this file, one \"name = value\" a line."},
    {"--check-config", "Check all options and end."},
    {"--print-config", "Print all options with their sources, secrets masked, and end."},
    {"--help", "Print this and end."},
    {"--help-markdown", "Print the options as a Markdown table and end."},
    {"--version", "Print the version and end."},
};

/* ---- Printed values ---- */

static const char *source_name(enum option_source source)
{
    switch (source) {
    case OPTION_UNSET: return "not set";
    case OPTION_DEFAULT: return "default";
    case OPTION_FILE: return "file";
    case OPTION_ENV: return "environment";
    case OPTION_ARGS: return "command line";
    }
    return "";
}

/* A number that was never set may lie below its option's bounds, so that reading it back would
 * fail. */
static bool is_missing_number(const struct option *o, const void *values)
{
    if (o->type != OPT_UINT && o->type != OPT_BYTES && o->type != OPT_MS)
        return false;
    return *(const uint64_t *)(const void *)((const char *)values + o->offset) < o->min;
}

/* A map's entries, each as a line of its own. */
static void print_map(const struct option *o, const void *values, bool with_sources, FILE *out)
{
    const struct option_entry *e = option_map_entries(o, values);
    if (!e)
        fprintf(out, "%s# %sNAME is not set\n", with_sources ? "# not set\n" : "", o->name);
    for (; e && e->name; e++) {
        if (with_sources)
            fprintf(out, "# %s\n", source_name((enum option_source)e->source));
        if (options_is_secret_entry(o, e->name))
            fprintf(out, "# %s%s = %s\n", o->name, e->name, *e->value ? "<set>" : "<unset>");
        else
            fprintf(out, "%s%s =%s%s\n", o->name, e->name, *e->value ? " " : "", e->value);
    }
}

void options_print_sources(const struct options_spec *spec, const void *values,
                           const enum option_source *sources, FILE *out)
{
    const struct option *o;
    struct buf text = BUF_INIT(MAX_VALUE);
    for (size_t i = 0; (o = options_at(spec, i)); i++) {
        if (o->flags & OPT_ARGS)
            continue;
        if (o->type == OPT_MAP) {
            print_map(o, values, sources != NULL, out);
            continue;
        }
        buf_reset(&text);
        option_text(o, values, &text);
        if (sources)
            fprintf(out, "# %s\n", source_name(sources[i]));
        if (o->flags & OPT_SECRET)
            fprintf(out, "# %s = %s\n", o->name, text.len ? "<set>" : "<unset>");
        else if (is_missing_number(o, values))
            fprintf(out, "# %s is not set\n", o->name);
        else
            fprintf(out, "%s =%s%s\n", o->name, text.len ? " " : "", buf_str(&text));
    }
    buf_cleanup(&text);
}

void options_print(const struct options_spec *spec, const void *values, FILE *out)
{
    options_print_sources(spec, values, NULL, out);
}

/* ---- Help ---- */

/* What may stand behind the equals sign. */
static void add_value_form(const struct option *o, struct buf *out)
{
    static const char *const names[] = {
        [OPT_STRING] = "TEXT", [OPT_BOOL] = "BOOL", [OPT_UINT] = "NUMBER",
        [OPT_BYTES] = "BYTES", [OPT_MS] = "TIME",   [OPT_MAP] = "TEXT",
    };
    if (o->type != OPT_ENUM) {
        buf_adds(out, names[o->type]);
        return;
    }
    for (size_t i = 0; o->choices[i]; i++)
        buf_addf(out, "%s%s", i ? "|" : "", o->choices[i]);
}

static void add_range(const struct option *o, struct buf *out)
{
    if (o->min || o->max)
        option_number_text(o, o->min, out);
    if (o->max) {
        buf_adds(out, " to ");
        option_number_text(o, o->max, out);
    } else if (o->min) {
        buf_adds(out, " or more");
    }
}

/* "(default 5s, 1s to 1m, on SIGHUP)" */
static void add_notes(const struct option *o, struct buf *out)
{
    struct buf notes = BUF_INIT(MAX_VALUE);
    if (o->dflt && *o->dflt)
        buf_addf(&notes, ", default %s", o->dflt);
    if (o->min || o->max)
        buf_adds(&notes, ", ");
    add_range(o, &notes);
    if (o->flags & OPT_REQUIRED)
        buf_adds(&notes, ", required");
    if (o->flags & OPT_RELOAD)
        buf_adds(&notes, ", reloadable");
    if (notes.len)
        buf_addf(out, " (%s)", buf_str(&notes) + 2);
    buf_cleanup(&notes);
}

/* Breaks text at blanks, each line indented. */
static void print_wrapped(const char *text, FILE *out)
{
    int column = 0;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column && column + 1 + n > HELP_WIDTH) {
            fputc('\n', out);
            column = 0;
        }
        column += fprintf(out, "%*s%.*s", column ? 1 : HELP_INDENT, "", n, text);
        text += n;
        text += *text == ' ';
    }
    fputc('\n', out);
}

static void print_option(const struct option *o, FILE *out)
{
    struct buf text = BUF_INIT(MAX_VALUE);
    fputs(o->type == OPT_BOOL ? "  --[no-]" : "  --", out);
    for (const char *p = o->name; *p; p++)
        fputc(*p == '_' ? '-' : *p, out);
    if (o->type == OPT_MAP)
        fputs("NAME", out);
    if (o->type != OPT_BOOL) {
        add_value_form(o, &text);
        fprintf(out, "=%s", buf_str(&text));
    }
    fputc('\n', out);
    buf_reset(&text);
    buf_adds(&text, o->help);
    add_notes(o, &text);
    print_wrapped(buf_str(&text), out);
    buf_cleanup(&text);
}

void options_help_table(const struct option *table, FILE *out)
{
    for (; table->name; table++)
        print_option(table, out);
}

void options_help_all(const struct options_spec *spec, FILE *out)
{
    for (size_t t = 0; spec->tables[t]; t++)
        options_help_table(spec->tables[t], out);
    for (size_t i = 0; i < sizeof(built_ins) / sizeof(built_ins[0]); i++) {
        fprintf(out, "  %s\n", built_ins[i].usage);
        print_wrapped(built_ins[i].help, out);
    }
    fputs("\nAn option may also stand in the --config file (some_option = value) or in the\n"
          "environment (EPUFS_SOME_OPTION=value, with __ for a dot). The command line\n"
          "wins over the environment, the environment over the file. Reloadable ones are\n"
          "read again on SIGHUP.\n",
          out);
}

void options_help(const struct options_spec *spec, FILE *out)
{
    fprintf(out, "Usage: %s [options]%s%s\n", spec->program, spec->usage ? " " : "",
            spec->usage ? spec->usage : "");
    fprintf(out, "%s\n\nOptions:\n", spec->summary);
    options_help_all(spec, out);
}

/* ---- The manual's table ---- */

/* In a table's cell '|' would end the cell. */
static void print_cell(const char *text, FILE *out)
{
    fputc(' ', out);
    for (; *text; text++)
        fprintf(out, *text == '|' ? "\\%c" : "%c", *text);
    fputs(" |", out);
}

static void print_row(const struct option *o, FILE *out)
{
    struct buf text = BUF_INIT(MAX_VALUE);
    buf_addf(&text, "`%s%s`", o->name, o->type == OPT_MAP ? "NAME" : "");
    fputc('|', out);
    print_cell(buf_str(&text), out);
    buf_reset(&text);
    add_value_form(o, &text);
    print_cell(buf_str(&text), out);
    buf_reset(&text);
    if (o->dflt && *o->dflt)
        buf_addf(&text, "`%s`", o->dflt);
    else if (o->flags & OPT_REQUIRED)
        buf_adds(&text, "required");
    print_cell(buf_str(&text), out);
    buf_reset(&text);
    add_range(o, &text);
    print_cell(buf_str(&text), out);
    print_cell(o->flags & OPT_RELOAD ? "yes" : "", out);
    print_cell(o->help, out);
    fputc('\n', out);
    buf_cleanup(&text);
}

void options_markdown(const struct options_spec *spec, FILE *out)
{
    const struct option *o;
    fputs("| Option | Value | Default | Range | Reload | Meaning |\n"
          "|---|---|---|---|---|---|\n",
          out);
    for (size_t i = 0; (o = options_at(spec, i)); i++)
        print_row(o, out);
}
