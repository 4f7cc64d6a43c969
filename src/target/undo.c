/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing the undo list and walking it backwards; what a step means is in undo-file.c and libvirt-undo.c.
 *
 * A last line without its newline was never acknowledged, so its step was never taken: it is ignored.
 */
#include "target/undo.h"
#include "base/error.h"
#include "target/undo-kinds.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct vmf_undo
{
    char *path;
    int fd;
};

static char *
list_path (const char *work_dir)
{
    return g_build_filename (work_dir, "undo", NULL);
}

struct vmf_undo *
vmf_undo_open (const char *work_dir, GError **error)
{
    g_autoptr (vmf_undo) undo = g_new0 (struct vmf_undo, 1);
    undo->path = list_path (work_dir);
    undo->fd = open (undo->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (undo->fd >= 0 && vmf_undo_sync_parent (undo->path, error))
        return g_steal_pointer (&undo);
    if (undo->fd >= 0)
    {
        unlink (undo->path);
        return NULL;
    }
    g_set_error (error, VMF_ERROR, errno == EEXIST ? VMF_ERROR_EXISTS : VMF_ERROR_FAILED,
                 errno == EEXIST ? "an earlier import left things on the target, listed in %s (%s); clear them first"
                                 : "cannot write the undo list %s: %s",
                 undo->path, g_strerror (errno));
    return NULL;
}

/* Cuts off a last line without its newline. */
static bool
cut_torn_line (struct vmf_undo *undo, GError **error)
{
    g_autofree char *text = NULL;
    gsize length;
    if (!g_file_get_contents (undo->path, &text, &length, error))
        return false;
    while (length > 0 && text[length - 1] != '\n')
        length--;
    if (ftruncate (undo->fd, (off_t)length) == 0)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot write the undo list %s: %s", undo->path,
                 g_strerror (errno));
    return false;
}

struct vmf_undo *
vmf_undo_reopen (const char *work_dir, GError **error)
{
    g_autoptr (vmf_undo) undo = g_new0 (struct vmf_undo, 1);
    undo->path = list_path (work_dir);
    undo->fd = open (undo->path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    if (undo->fd >= 0)
        return cut_torn_line (undo, error) ? g_steal_pointer (&undo) : NULL;
    g_set_error (error, VMF_ERROR, errno == ENOENT ? VMF_ERROR_NOT_FOUND : VMF_ERROR_FAILED,
                 "cannot open the undo list %s: %s", undo->path, g_strerror (errno));
    return NULL;
}

bool
vmf_undo_is_committed (const char *work_dir)
{
    g_autofree char *path = list_path (work_dir), *text = NULL;
    return g_file_get_contents (path, &text, NULL, NULL) && strstr (text, "{\"done\":true}\n");
}

void
vmf_undo_free (struct vmf_undo *undo)
{
    if (!undo)
        return;
    if (undo->fd >= 0)
        close (undo->fd);
    g_free (undo->path);
    g_free (undo);
}

bool
vmf_undo_add (struct vmf_undo *undo, json_t *line, GError **error)
{
    g_autofree char *text = json_dumps (line, JSON_COMPACT);
    json_decref (line);
    g_autofree char *full = g_strconcat (text ? text : "", "\n", NULL);
    size_t length = strlen (full);
    off_t before = lseek (undo->fd, 0, SEEK_END);
    errno = text ? 0 : EILSEQ;
    if (text && write (undo->fd, full, length) == (ssize_t)length && fsync (undo->fd) == 0)
        return true;
    int failed = errno ? errno : ENOSPC; /* a short write sets none */
    /* The caller stops here and undoes: above all a "done" must not stand there then. */
    if (before >= 0 && ftruncate (undo->fd, before) != 0)
        g_debug ("%s: %s", undo->path, g_strerror (errno));
    g_set_error (error, VMF_ERROR, failed == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED,
                 "cannot write the undo list %s: %s", undo->path, g_strerror (failed));
    return false;
}

bool
vmf_undo_commit (struct vmf_undo *undo, GError **error)
{
    return vmf_undo_add (undo, json_pack ("{s:b}", "done", 1), error);
}

void
vmf_undo_say (GPtrArray *removed, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    if (removed)
        g_ptr_array_add (removed, g_strdup_vprintf (format, args));
    va_end (args);
}

json_t *
vmf_undo_path_to_json (const char *path)
{
    g_autofree char *escaped = g_uri_escape_string (path, G_URI_RESERVED_CHARS_ALLOWED_IN_PATH " ", TRUE);
    return json_string (escaped);
}

char *
vmf_undo_path_from_json (json_t *line, const char *key)
{
    const char *escaped = json_string_value (json_object_get (line, key));
    return escaped ? g_uri_unescape_string (escaped, NULL) : NULL;
}

void
vmf_undo_id_to_json (const struct vmf_undo_id *id, json_t *line)
{
    json_object_set_new (line, "ino", json_integer ((json_int_t)id->ino));
    json_object_set_new (line, "born_ns", json_integer ((json_int_t)id->born_ns));
}

static struct vmf_undo_id
id_from_json (json_t *line)
{
    return (struct vmf_undo_id){
        .ino = (uint64_t)json_integer_value (json_object_get (line, "ino")),
        .born_ns = (uint64_t)json_integer_value (json_object_get (line, "born_ns")),
    };
}

static void
step_free (void *data)
{
    struct vmf_undo_step *step = data;
    json_decref (step->line);
    g_free (step);
}

static void
add_step (GPtrArray *steps, json_t *line, const char *kind, bool trash)
{
    struct vmf_undo_step *step = g_new0 (struct vmf_undo_step, 1);
    step->kind = kind;
    step->line = json_incref (line);
    step->id = id_from_json (line);
    step->did = step->id.ino != 0;
    step->trash = trash;
    g_ptr_array_add (steps, step);
}

/* A "did" belongs to the step right before it: steps are taken one after the other. */
static bool
take_line (GPtrArray *steps, json_t *line, bool *done)
{
    const char *to_do = json_string_value (json_object_get (line, "do"));
    const char *did = json_string_value (json_object_get (line, "did"));
    const char *trash = json_string_value (json_object_get (line, "trash"));
    struct vmf_undo_step *last = steps->len > 0 ? g_ptr_array_index (steps, steps->len - 1) : NULL;
    if (to_do || trash)
        add_step (steps, line, to_do ? to_do : trash, trash != NULL);
    else if (did && last && strcmp (last->kind, did) == 0)
    {
        last->did = true;
        last->id = id_from_json (line);
        json_object_update_missing (last->line, line);
    }
    else if (json_is_true (json_object_get (line, "done")))
        *done = true;
    else
        return false;
    return true;
}

/* The list at PATH as steps; an empty array where there is no list. */
static GPtrArray *
read_steps (const char *path, bool *done, GError **error)
{
    g_autoptr (GPtrArray) steps = g_ptr_array_new_with_free_func (step_free);
    g_autofree char *text = NULL;
    g_autoptr (GError) failed = NULL;
    if (!g_file_get_contents (path, &text, NULL, &failed))
    {
        if (g_error_matches (failed, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return g_steal_pointer (&steps);
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot read the undo list: %s", failed->message);
        return NULL;
    }
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    for (guint i = 0; lines[i] && lines[i + 1]; i++)
    {
        json_t *line = json_loads (lines[i], 0, NULL);
        bool good = line && take_line (steps, line, done);
        json_decref (line);
        if (good)
            continue;
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "line %u of the undo list %s is damaged; look there for what to remove by hand, then delete it",
                     i + 1, path);
        return NULL;
    }
    return g_steal_pointer (&steps);
}

static bool
run_step (const struct vmf_undo_step *step, GPtrArray *removed, GError **error)
{
    static const struct
    {
        const char *kind;
        bool (*run) (const struct vmf_undo_step *step, GPtrArray *removed, GError **error);
    } kinds[] = {
        { "file", vmf_undo_file },     { "dir", vmf_undo_dir },       { "rename", vmf_undo_renamed },
        { "volume", vmf_undo_volume }, { "domain", vmf_undo_domain }, { "undefine", vmf_undo_undefined },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
        if (strcmp (kinds[i].kind, step->kind) == 0)
            return kinds[i].run (step, removed, error);
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "the undo list has a step '%s' that this version does not know",
                 step->kind);
    return false;
}

bool
vmf_undo_run (const char *work_dir, GPtrArray *removed, GError **error)
{
    g_autofree char *path = list_path (work_dir);
    g_autoptr (GError) first = NULL;
    bool done = false;
    g_autoptr (GPtrArray) steps = read_steps (path, &done, error);
    if (!steps)
        return false;
    for (guint i = steps->len; i-- > 0;)
    {
        const struct vmf_undo_step *step = g_ptr_array_index (steps, i);
        if (step->trash == done)
            run_step (step, removed, first ? NULL : &first);
    }
    if (first)
    {
        g_propagate_prefixed_error (error, g_steal_pointer (&first), "not everything could be cleared away: ");
        return false;
    }
    unlink (path);
    return true;
}

char *
vmf_undo_take_out_trash (const char *work_dir)
{
    g_autoptr (GError) failed = NULL;
    if (vmf_undo_run (work_dir, NULL, &failed))
        return NULL;
    return g_strdup_printf (
        "the VM is there, but what it replaced could not be deleted: %s; 'vmferry clean --work %s' tries "
        "again",
        failed->message, work_dir);
}
