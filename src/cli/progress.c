/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Progress for people and programs. Rates come from the last ten seconds, ETA from them: what a line does now says more
 * about what is left than what it did an hour ago.
 */
#include "cli/progress.h"
#include "base/error.h"
#include "base/text.h"

#include <string.h>
#include <unistd.h>

enum
{
    SAMPLES = 32,
    RATE_WINDOW_US = 10 * G_USEC_PER_SEC,
    JSON_EVERY_US = G_USEC_PER_SEC / 2,
};

struct sample
{
    int64_t at_us;
    uint64_t bytes;
};

/* One disk as it is shown. */
struct line
{
    struct sample samples[SAMPLES];
    unsigned n_samples;
    unsigned last_tenth; /* LINES: the last multiple of 10 % that was printed */
    bool verifying;      /* LINES: of the reading back */
};

struct vmf_progress
{
    enum vmf_progress_style style;
    struct vmf_import_events events;
    struct line *lines;
    unsigned n_lines, drawn; /* drawn: lines of the block on the terminal now */
    int64_t json_at_us;
    char *convert_said; /* LINES: the last stage of the conversion that was printed */
};

/* Forgets what is older than the window, or the oldest where there is no room for another. */
static void
drop_samples (struct line *line, int64_t now_us)
{
    unsigned old = line->n_samples == SAMPLES;
    while (old < line->n_samples && now_us - line->samples[old].at_us > RATE_WINDOW_US)
        old++;
    line->n_samples -= old;
    memmove (line->samples, line->samples + old, line->n_samples * sizeof line->samples[0]);
}

/* Bytes per second over the last samples; 0: not known yet. A pass that begins again begins at 0. */
static uint64_t
rate (struct line *line, uint64_t bytes, int64_t now_us)
{
    if (line->n_samples > 0 && bytes < line->samples[line->n_samples - 1].bytes)
        *line = (struct line){ 0 };
    if (line->n_samples == 0 || now_us - line->samples[line->n_samples - 1].at_us >= RATE_WINDOW_US / SAMPLES)
    {
        drop_samples (line, now_us);
        line->samples[line->n_samples++] = (struct sample){ now_us, bytes };
    }
    int64_t took_us = now_us - line->samples[0].at_us;
    return took_us > G_USEC_PER_SEC / 2 ? (bytes - line->samples[0].bytes) * G_USEC_PER_SEC / (uint64_t)took_us : 0;
}

static unsigned
percent (uint64_t done, uint64_t needed)
{
    return needed ? (unsigned)((double)MIN (done, needed) / (double)needed * 100) : 0;
}

static struct line *
line_of (struct vmf_progress *progress, const struct vmf_import_progress *now, unsigned n)
{
    if (progress->n_lines < now->n_disks)
    {
        progress->lines = g_renew (struct line, progress->lines, now->n_disks);
        memset (progress->lines + progress->n_lines, 0, (now->n_disks - progress->n_lines) * sizeof *progress->lines);
        progress->n_lines = now->n_disks;
    }
    return &progress->lines[n];
}

/* "sda   43 %  233.1 MiB of 541.0 MiB  9.8 MiB/s  0:31 left (source bandwidth)" */
static char *
disk_text (struct vmf_progress *progress, const struct vmf_import_progress *now, unsigned n)
{
    const struct vmf_import_disk_progress *disk = &now->disks[n];
    uint64_t per_s = rate (line_of (progress, now, n), disk->done_bytes, now->now_us);
    g_autofree char *done = vmf_text_from_size (disk->done_bytes), *needed = vmf_text_from_size (disk->needed_bytes);
    g_autofree char *speed = vmf_text_from_size (per_s);
    uint64_t left = disk->needed_bytes > disk->done_bytes ? disk->needed_bytes - disk->done_bytes : 0;
    g_autofree char *eta = per_s ? vmf_text_from_duration ((int64_t)(left / per_s) * G_USEC_PER_SEC) : g_strdup ("?");
    if (disk->copied)
        return g_strdup_printf ("%-8s %s, %s", disk->name, strcmp (now->stage, "verify") == 0 ? "verified" : "copied",
                                needed);
    if (disk->needed_bytes == 0)
        return g_strdup_printf ("%-8s waiting", disk->name);
    return g_strdup_printf ("%-8s %3u %%  %s of %s  %s/s  %s left%s%s%s", disk->name,
                            percent (disk->done_bytes, disk->needed_bytes), done, needed, speed, eta,
                            disk->bottleneck ? " (" : "", disk->bottleneck ? disk->bottleneck : "",
                            disk->bottleneck ? ")" : "");
}

static char *
convert_text (const struct vmf_import_progress *now)
{
    g_autofree char *took = vmf_text_from_duration (now->now_us - now->convert_started_us);
    g_autofree char *said = vmf_text_printable (now->convert_stage ? now->convert_stage : "starting", 60);
    return g_strdup_printf ("convert  %s, %s", took, said);
}

static char *
commit_text (const struct vmf_import_progress *now)
{
    g_autofree char *done = vmf_text_from_size (now->commit_done_bytes);
    return g_strdup_printf ("commit   %3u %%  %s", percent (now->commit_done_bytes, now->commit_total_bytes), done);
}

static void
erase_block (struct vmf_progress *progress)
{
    for (; progress->drawn > 0; progress->drawn--)
        fputs ("\033[A\033[2K", stderr);
}

static void
draw_line (struct vmf_progress *progress, char *text)
{
    fprintf (stderr, "%.*s\n", 100, text);
    progress->drawn++;
    g_free (text);
}

static void
draw_block (struct vmf_progress *progress, const struct vmf_import_progress *now)
{
    erase_block (progress);
    for (unsigned i = 0; i < now->n_disks; i++)
        draw_line (progress, disk_text (progress, now, i));
    if (now->converting)
        draw_line (progress, convert_text (now));
    if (strcmp (now->stage, "commit") == 0)
        draw_line (progress, commit_text (now));
    fflush (stderr);
}

/* Not a terminal: a line per disk and 10 %, and one when the conversion says something new. */
static void
print_steps (struct vmf_progress *progress, const struct vmf_import_progress *now)
{
    for (unsigned i = 0; i < now->n_disks; i++)
    {
        struct line *line = line_of (progress, now, i);
        g_autofree char *text = disk_text (progress, now, i);
        unsigned tenth =
            now->disks[i].copied ? 10 : percent (now->disks[i].done_bytes, now->disks[i].needed_bytes) / 10;
        bool verifying = strcmp (now->stage, "verify") == 0;
        if (verifying != line->verifying) /* it begins again */
            line->last_tenth = 0;
        line->verifying = verifying;
        if (tenth > line->last_tenth)
            fprintf (stderr, "%s\n", text);
        line->last_tenth = MAX (tenth, line->last_tenth);
    }
    if (now->converting && now->convert_stage && g_strcmp0 (now->convert_stage, progress->convert_said) != 0)
    {
        g_autofree char *text = convert_text (now);
        fprintf (stderr, "%s\n", text);
        g_free (progress->convert_said);
        progress->convert_said = g_strdup (now->convert_stage);
    }
}

static void
print_json_line (json_t *event)
{
    g_autofree char *time = vmf_text_from_time (g_get_real_time ());
    json_object_set_new (event, "time", json_string (time));
    json_dumpf (event, stdout, JSON_COMPACT);
    putchar ('\n');
    fflush (stdout);
    json_decref (event);
}

static void
print_json_progress (struct vmf_progress *progress, const struct vmf_import_progress *now)
{
    if (now->now_us - progress->json_at_us < JSON_EVERY_US)
        return;
    progress->json_at_us = now->now_us;
    json_t *disks = json_array ();
    uint64_t done = 0, needed = 0;
    for (unsigned i = 0; i < now->n_disks; i++)
    {
        const struct vmf_import_disk_progress *disk = &now->disks[i];
        uint64_t per_s = rate (line_of (progress, now, i), disk->done_bytes, now->now_us);
        done += disk->done_bytes;
        needed += disk->needed_bytes;
        json_array_append_new (disks,
                               json_pack ("{s:s, s:I, s:I, s:I, s:I, s:b, s:s?}", "name", disk->name, "needed_bytes",
                                          (json_int_t)disk->needed_bytes, "done_bytes", (json_int_t)disk->done_bytes,
                                          "read_bytes", (json_int_t)disk->read_bytes, "rate_bytes_per_s",
                                          (json_int_t)per_s, "copied", disk->copied, "bottleneck", disk->bottleneck));
    }
    print_json_line (json_pack ("{s:s, s:s, s:o, s:I, s:I, s:b, s:o}", "event", "progress", "stage", now->stage,
                                "disks", disks, "needed_bytes", (json_int_t)needed, "done_bytes", (json_int_t)done,
                                "converting", now->converting, "convert_stage", vmf_text_to_json (now->convert_stage)));
}

static void
on_progress (const struct vmf_import_progress *now, void *data)
{
    struct vmf_progress *progress = data;
    if (progress->style == VMF_PROGRESS_TERMINAL)
        draw_block (progress, now);
    else if (progress->style == VMF_PROGRESS_LINES)
        print_steps (progress, now);
    else if (progress->style == VMF_PROGRESS_JSON)
        print_json_progress (progress, now);
}

static void
on_stage (const char *stage, bool begins, void *data)
{
    struct vmf_progress *progress = data;
    if (progress->style == VMF_PROGRESS_JSON)
        print_json_line (json_pack ("{s:s, s:s, s:b}", "event", "stage", "stage", stage, "begins", begins));
    else if (progress->style == VMF_PROGRESS_LINES && begins)
        fprintf (stderr, "%s\n", stage);
}

static void
on_message (enum vmf_import_message kind, const char *text, void *data)
{
    struct vmf_progress *progress = data;
    const char *word = kind == VMF_IMPORT_WARNING ? "warning" : "note";
    if (progress->style == VMF_PROGRESS_JSON)
    {
        print_json_line (
            json_pack ("{s:s, s:s, s:o}", "event", "message", "kind", word, "text", vmf_text_to_json (text)));
        return;
    }
    erase_block (progress);
    g_autofree char *shown = vmf_text_printable (text, 1000);
    if (progress->style != VMF_PROGRESS_NONE || kind == VMF_IMPORT_WARNING)
        fprintf (stderr, "%s: %s\n", word, shown);
}

struct vmf_progress *
vmf_progress_new (enum vmf_progress_style style)
{
    struct vmf_progress *progress = g_new0 (struct vmf_progress, 1);
    bool terminal = isatty (STDERR_FILENO) && g_strcmp0 (g_getenv ("TERM"), "dumb") != 0;
    progress->style = style != VMF_PROGRESS_AUTO ? style : terminal ? VMF_PROGRESS_TERMINAL : VMF_PROGRESS_LINES;
    progress->events = (struct vmf_import_events){ on_stage, on_progress, on_message, progress };
    return progress;
}

void
vmf_progress_free (struct vmf_progress *progress)
{
    if (!progress)
        return;
    g_free (progress->lines);
    g_free (progress->convert_said);
    g_free (progress);
}

const struct vmf_import_events *
vmf_progress_get_events (struct vmf_progress *progress)
{
    return &progress->events;
}

void
vmf_progress_tell_vm (struct vmf_progress *progress, const char *name, const char *place)
{
    g_autofree char *shown = vmf_text_printable (name, 200);
    if (progress->style == VMF_PROGRESS_JSON)
        print_json_line (json_pack ("{s:s, s:o, s:s}", "event", "vm", "name", vmf_text_to_json (name), "place", place));
    else if (progress->style != VMF_PROGRESS_NONE)
        fprintf (stderr, "VM %s: %s\n", place, shown);
}

void
vmf_progress_settle (struct vmf_progress *progress)
{
    progress->drawn = 0;
}

bool
vmf_progress_style_from_text (const char *text, enum vmf_progress_style *style, GError **error)
{
    static const char *const words[] = { "auto", "none", "lines", "terminal", "json" }; /* in the order of the enum */
    *style = VMF_PROGRESS_AUTO;
    for (size_t i = 0; text && i < G_N_ELEMENTS (words); i++)
        if (strcmp (text, words[i]) == 0)
            return *style = (enum vmf_progress_style)i, true;
    if (text)
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "--progress '%s' is none of auto, none, lines, terminal, json",
                     text);
    return text == NULL;
}
