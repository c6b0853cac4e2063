/* One line from a person: libedit where the command was built with it, else the terminal's own line mode. */
#include <locale.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#ifdef PENSIEVE_LIBEDIT

#include <histedit.h>

struct cli_editor {
    EditLine *edit;
    History *history;
    const char *prompt, *more_prompt;
    bool more, interrupted, interrupted_empty;
    cli_text line;
};

static cli_editor *editor_of(EditLine *edit)
{
    void *editor = NULL;
    el_get(edit, EL_CLIENTDATA, &editor);
    return editor;
}

static char *show_prompt(EditLine *edit)
{
    const cli_editor *editor = editor_of(edit);
    return (char *)(uintptr_t)(editor->more ? editor->more_prompt : editor->prompt);
}

/* Ctrl-C while a line is edited: the terminal sends no signal then, it is a key. */
static unsigned char on_interrupt(EditLine *edit, int key)
{
    cli_editor *editor = editor_of(edit);
    const LineInfo *line = el_line(edit);
    (void)key;
    editor->interrupted = true;
    editor->interrupted_empty = line->buffer == line->lastchar;
    return CC_EOF;
}

/* Ctrl-Z likewise. */
static unsigned char on_suspend(EditLine *edit, int key)
{
    (void)key;
    el_set(edit, EL_PREP_TERM, 0);
    kill(0, SIGTSTP);
    el_set(edit, EL_PREP_TERM, 1);
    return CC_REDISPLAY;
}

cli_editor *cli_editor_create(const char *prompt, const char *more_prompt)
{
    cli_editor *editor = cli_alloc(1, sizeof *editor);
    HistEvent event;
    *editor = (cli_editor){.prompt = prompt, .more_prompt = more_prompt};
    setlocale(LC_CTYPE, "");
    /* With no locale set, as in containers, libedit would drop what is typed beyond ASCII. */
    if (strcmp(setlocale(LC_CTYPE, NULL), "C") == 0) setlocale(LC_CTYPE, "C.UTF-8");
    editor->edit = el_init("pensieve", stdin, stderr, stderr);
    editor->history = history_init();
    if (editor->edit == NULL || editor->history == NULL) {
        cli_editor_destroy(editor);
        return NULL;
    }
    el_set(editor->edit, EL_CLIENTDATA, editor);
    el_set(editor->edit, EL_PROMPT_ESC, show_prompt, '\1');
    el_set(editor->edit, EL_EDITOR, "emacs");
    history(editor->history, &event, H_SETSIZE, 1000);
    history(editor->history, &event, H_SETUNIQUE, 1);
    el_set(editor->edit, EL_HIST, history, editor->history);
    el_set(editor->edit, EL_ADDFN, "pensieve-interrupt", "ends or leaves", on_interrupt);
    el_set(editor->edit, EL_SETTY, "-d", "-isig", NULL);
    el_set(editor->edit, EL_BIND, "^C", "pensieve-interrupt", NULL);
    el_set(editor->edit, EL_ADDFN, "pensieve-suspend", "stops the program", on_suspend);
    el_set(editor->edit, EL_BIND, "^Z", "pensieve-suspend", NULL);
    el_set(editor->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    return editor;
}

void cli_editor_destroy(cli_editor *editor)
{
    if (editor == NULL) return;
    if (editor->edit != NULL) el_end(editor->edit);
    if (editor->history != NULL) history_end(editor->history);
    free(editor->line.data);
    free(editor);
}

cli_line cli_editor_read(cli_editor *editor, bool more, const char **text)
{
    int count = 0;
    HistEvent event;
    editor->more = more;
    editor->interrupted = false;
    /* libedit itself would do so after the prompt is on the screen, and a key between them would be lost */
    el_set(editor->edit, EL_PREP_TERM, 1);
    const char *line = el_gets(editor->edit, &count);
    if (editor->interrupted) {
        fputs("\n", stderr);
        return editor->interrupted_empty ? CLI_LINE_INTERRUPT_EMPTY : CLI_LINE_INTERRUPT;
    }
    if (line == NULL || count <= 0) return CLI_LINE_END;
    editor->line.length = 0;
    cli_add(&editor->line, line, strcspn(line, "\n"));
    if (editor->line.length > 0) history(editor->history, &event, H_ENTER, editor->line.data);
    *text = editor->line.data;
    return CLI_LINE_TEXT;
}

#else

struct cli_editor {
    const char *prompt, *more_prompt;
    cli_text input; /* read, but not handed out from `used` on */
    size_t used;
    cli_text line;
};

cli_editor *cli_editor_create(const char *prompt, const char *more_prompt)
{
    cli_editor *editor = cli_alloc(1, sizeof *editor);
    *editor = (cli_editor){.prompt = prompt, .more_prompt = more_prompt};
    return editor;
}

void cli_editor_destroy(cli_editor *editor)
{
    if (editor == NULL) return;
    free(editor->input.data);
    free(editor->line.data);
    free(editor);
}

/* The prompt without the marks that libedit needs around what has no width. */
static void show(const char *prompt)
{
    for (; *prompt != '\0'; prompt++)
        if (*prompt != '\1') fputc(*prompt, stderr);
    fflush(stderr);
}

static bool take_line(cli_editor *editor, const char **text)
{
    const char *start = editor->input.data + editor->used;
    size_t left = editor->input.length - editor->used;
    const char *end = left > 0 ? memchr(start, '\n', left) : NULL;
    if (end == NULL) return false;
    editor->line.length = 0;
    cli_add(&editor->line, start, (size_t)(end - start));
    editor->used += (size_t)(end - start) + 1;
    if (editor->used == editor->input.length) editor->used = editor->input.length = 0;
    *text = editor->line.data;
    return true;
}

cli_line cli_editor_read(cli_editor *editor, bool more, const char **text)
{
    show(more ? editor->more_prompt : editor->prompt);
    for (;;) {
        if (take_line(editor, text)) return CLI_LINE_TEXT;
        struct pollfd waits[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = cli_interrupt_descriptor(), .events = POLLIN}};
        if (poll(waits, 2, -1) < 0 && errno != EINTR) return CLI_LINE_END;
        if (cli_interrupted() > 0) {
            fputs("\n", stderr);
            return CLI_LINE_INTERRUPT_EMPTY;
        }
        if (waits[0].revents == 0) continue;
        char bytes[4096];
        ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);
        if (got == 0 || (got < 0 && errno != EINTR)) return CLI_LINE_END;
        if (got > 0) cli_add(&editor->input, bytes, (size_t)got);
    }
}

#endif
