/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registry of sources, and what they share. A new kind: one file with a table of functions, and a line here. */
#include "source/sources.h"
#include "disk/image-beneath.h"
#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* In the order in which they are asked. An image's name comes before its first bytes, which a guest may have written:
   an archive or an administrator's XML within them is only the disk's content. */
static const struct vmf_source_ops *const kinds[] = { &vmf_source_vsphere, &vmf_source_ssh, &vmf_source_image,
                                                      &vmf_source_ova,     &vmf_source_vmx, &vmf_source_libvirt_xml };

static const char kinds_help[] =
    "known are: a vCenter or ESXi host (vpx://user@vcenter/DC/host, esx://user@host/), an OVA (NAME.ova, NAME.zip, "
    "NAME.ovf or a folder with one .ovf), a VMware machine (NAME.vmx or a "
    "folder "
    "with one), a libvirt domain XML (NAME.xml), a disk image (.vmdk, .vhd, .vhdx, .vdi, .qcow2, .raw, .img, or any "
    "name with --format), a disk of an NBD server (nbd://host:port/export) or of a web server "
    "(https://host/path/disk.vmdk, .raw), a VMware machine by ssh "
    "(ssh://user@host/vmfs/volumes/DATASTORE/NAME/NAME.vmx)";

static bool
is_uri (const char *address)
{
    const char *colon = strstr (address, "://");
    return colon && strspn (address, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == (size_t)(colon - address);
}

static const struct vmf_source_ops *
find_kind (const char *address, const struct vmf_source_options *options)
{
    if (options->format)
        return &vmf_source_image;
    for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
        if (kinds[i]->claims (address))
            return kinds[i];
    return NULL;
}

/* ADDRESS for messages: what somebody wrote as a password into it goes no further. Caller frees. */
static char *
show_address (const char *address)
{
    g_autoptr (GRegex) password = g_regex_new ("^([a-z0-9+.-]+://[^/:@]*):.*@", G_REGEX_RAW, 0, NULL);
    g_autofree char *masked = g_regex_replace (password, address, -1, 0, "\\1:***@", 0, NULL);
    return vmf_text_printable (masked ? masked : address, 300);
}

struct vmf_source *
vmf_source_open (const char *address, const struct vmf_source_options *options, GCancellable *cancellable,
                 GError **error)
{
    struct stat info;
    g_autofree char *shown = show_address (address);
    if (!is_uri (address) && stat (address, &info) != 0)
    {
        g_set_error (error, VMF_ERROR, errno == ENOENT || errno == ENOTDIR ? VMF_ERROR_NOT_FOUND : VMF_ERROR_FAILED,
                     "cannot open the source '%s': %s", shown, g_strerror (errno));
        return NULL;
    }
    const struct vmf_source_ops *kind = find_kind (address, options);
    if (!kind)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "'%s' is no source that vmferry knows; %s", shown, kinds_help);
        return NULL;
    }
    struct vmf_source *source = kind->open (address, options, cancellable, error);
    if (!source)
    {
        g_prefix_error (error, "cannot open the source '%s': ", shown);
        return NULL;
    }
    source->ops = kind;
    source->address = g_strdup (address);
    return source;
}

void
vmf_source_close (struct vmf_source *source)
{
    if (!source)
        return;
    g_free (source->address);
    g_free (source->notice);
    g_free (source->done);
    source->ops->close (source);
}

struct vmf_source_entry *
vmf_source_entry_copy (const struct vmf_source_entry *entry)
{
    struct vmf_source_entry *copy = g_new0 (struct vmf_source_entry, 1);
    *copy = *entry;
    char **texts[] = { &copy->name,    &copy->os_name, &copy->id,     &copy->datacenter,
                       &copy->cluster, &copy->host,    &copy->folder, &copy->problem };
    for (size_t i = 0; i < G_N_ELEMENTS (texts); i++)
        *texts[i] = g_strdup (*texts[i]);
    return copy;
}

void
vmf_source_entry_free (struct vmf_source_entry *entry)
{
    if (!entry)
        return;
    g_free (entry->name);
    g_free (entry->os_name);
    g_free (entry->id);
    g_free (entry->datacenter);
    g_free (entry->cluster);
    g_free (entry->host);
    g_free (entry->folder);
    g_free (entry->problem);
    g_free (entry);
}

/* PATTERN has * and ?; what is not known matches nothing but "any". */
static bool
matches (const char *pattern, const char *text)
{
    return !pattern || !*pattern || (text && vmf_text_matches (pattern, text));
}

/* What every source is held against: these words mean the same everywhere. */
static bool
is_there (const struct vmf_source_filter *filter, const struct vmf_source_entry *entry)
{
    return matches (filter->datacenter, entry->datacenter) && matches (filter->cluster, entry->cluster)
           && matches (filter->host, entry->host) && matches (filter->power, entry->power);
}

static bool
is_such (const struct vmf_source_filter *filter, const struct vmf_source_entry *entry)
{
    return matches (filter->name, entry->name) && matches (filter->os, entry->os_name)
           && matches (filter->folder, entry->folder);
}

static bool
lets_through (const struct vmf_source *source, const struct vmf_source_filter *filter,
              const struct vmf_source_entry *entry)
{
    return is_there (filter, entry) && (source->ops->filters || is_such (filter, entry));
}

GPtrArray *
vmf_source_list (struct vmf_source *source, const struct vmf_source_filter *filter, GCancellable *cancellable,
                 GError **error)
{
    GPtrArray *entries = source->ops->list (source, filter, cancellable, error);
    for (guint i = entries ? entries->len : 0; i > 0; i--)
        if (!lets_through (source, filter, g_ptr_array_index (entries, i - 1)))
            g_ptr_array_remove_index (entries, i - 1);
    return entries;
}

struct watching
{
    const struct vmf_source *source;
    const struct vmf_source_filter *filter;
    vmf_source_on_change on_change;
    void *data;
};

/* A machine that comes to match is new for who asked, and one that ceases to is gone. */
static void
tell_change (const struct vmf_source_entry *before, const struct vmf_source_entry *after, void *data)
{
    const struct watching *watching = data;
    if (before && !lets_through (watching->source, watching->filter, before))
        before = NULL;
    if (after && !lets_through (watching->source, watching->filter, after))
        after = NULL;
    if (before || after)
        watching->on_change (before, after, watching->data);
}

bool
vmf_source_watch (struct vmf_source *source, const struct vmf_source_filter *filter, int64_t timeout_ms,
                  vmf_source_on_change on_change, void *data, GCancellable *cancellable, GError **error)
{
    struct watching watching = { source, filter, on_change, data };
    if (source->ops->watch)
        return source->ops->watch (source, filter, timeout_ms, tell_change, &watching, cancellable, error);
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                 "this source does not tell changes: only a vCenter or ESXi host (vpx://, esx://) can be watched");
    return false;
}

bool
vmf_source_has_extension (const char *path, const char *const *extensions)
{
    size_t length = strlen (path);
    for (; *extensions; extensions++)
    {
        size_t n = strlen (*extensions);
        if (length > n && g_ascii_strcasecmp (path + length - n, *extensions) == 0)
            return true;
    }
    return false;
}

bool
vmf_source_check_not_gzip (const char *path, GError **error)
{
    static const char *const extensions[] = { ".gz", NULL };
    if (!vmf_source_has_extension (path, extensions))
        return true;
    g_autofree char *shown = vmf_text_printable (path, 300);
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                 "'%s' is compressed with gzip, so it can't be read as a disk; unpack it with gunzip first", shown);
    return false;
}

const char *
vmf_source_get_file (const struct vmf_disk *disk, GError **error)
{
    const char *path = disk->place.path;
    if (disk->place.location == VMF_LOCATION_FILE && path)
        return path;
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "it is not a file ('%s') and can't be imported from here",
                 path ? path : "");
    return NULL;
}

static gint
compare_names (gconstpointer a, gconstpointer b)
{
    return strcmp (*(const char *const *)a, *(const char *const *)b);
}

GPtrArray *
vmf_source_names_in (const char *path, const char *extension)
{
    GPtrArray *names = g_ptr_array_new_with_free_func (g_free);
    const char *const extensions[] = { extension, NULL };
    g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
    const char *name;
    while (dir && (name = g_dir_read_name (dir)))
        if (name[0] != '.' && vmf_source_has_extension (name, extensions))
            g_ptr_array_add (names, g_strdup (name));
    g_ptr_array_sort (names, compare_names);
    return names;
}

bool
vmf_source_first_bytes (const char *path, void *bytes, size_t length)
{
    g_autofree char *real_path = NULL;
    uint64_t size_bytes;
    memset (bytes, 0, length);
    int fd = vmf_beneath_open_own (path, &real_path, &size_bytes, NULL);
    bool good = fd >= 0 && pread (fd, bytes, length, 0) >= 0;
    if (fd >= 0)
        close (fd);
    return good;
}

char *
vmf_source_read_text (const char *path, size_t *length, GError **error)
{
    g_autofree char *real_path = NULL;
    uint64_t size_bytes;
    int fd = vmf_beneath_open_own (path, &real_path, &size_bytes, error);
    if (fd < 0)
        return NULL;
    if (size_bytes > VMF_SOURCE_TEXT_MAX)
    {
        close (fd);
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "'%s' is longer than 16 MiB, the most that a description has",
                     path);
        return NULL;
    }
    char *text = g_malloc (size_bytes + 1);
    ssize_t n = pread (fd, text, size_bytes, 0);
    *length = n < 0 ? 0 : (size_t)n;
    text[*length] = '\0';
    if (n < 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot read '%s': %s", path, g_strerror (errno));
        g_clear_pointer (&text, g_free);
    }
    close (fd);
    return text;
}

static void
entry_free (void *entry)
{
    vmf_source_entry_free (entry);
}

static struct vmf_source_entry *
make_entry (char *name, const struct vmf_vm *vm, const GError *problem)
{
    struct vmf_source_entry *entry = g_new0 (struct vmf_source_entry, 1);
    const struct vmf_disk *disk;
    entry->name = name;
    entry->problem = problem ? g_strdup (problem->message) : NULL;
    entry->os_name = vm ? g_strdup (vm->os_name) : NULL;
    while (vm && (disk = vmf_vm_get_import_disk (vm, entry->n_disks)))
    {
        entry->n_disks++;
        entry->capacity_bytes += disk->capacity_bytes;
    }
    return entry;
}

/* NAME as `describe` takes it. */
static bool
add_entry (struct vmf_source *source, const char *name, GPtrArray *entries, GCancellable *cancellable, GError **error)
{
    g_autoptr (GError) problem = NULL;
    g_autofree char *file = g_path_get_basename (source->address);
    g_autoptr (vmf_vm) vm = source->ops->describe (source, name, cancellable, &problem);
    if (g_error_matches (problem, VMF_ERROR, VMF_ERROR_CANCELLED))
        return g_propagate_error (error, g_steal_pointer (&problem)), false;
    const char *shown = name ? name : vm && vm->name ? vm->name : file;
    g_ptr_array_add (entries, make_entry (g_strdup (shown), vm, problem));
    return true;
}

GPtrArray *
vmf_source_list_names (struct vmf_source *source, const char *const *names, GCancellable *cancellable, GError **error)
{
    g_autoptr (GPtrArray) entries = g_ptr_array_new_with_free_func (entry_free);
    for (size_t i = 0; names[i]; i++)
        if (!add_entry (source, names[i], entries, cancellable, error))
            return NULL;
    return g_steal_pointer (&entries);
}

GPtrArray *
vmf_source_list_one (struct vmf_source *source, const struct vmf_source_filter *filter, GCancellable *cancellable,
                     GError **error)
{
    g_autoptr (GPtrArray) entries = g_ptr_array_new_with_free_func (entry_free);
    return add_entry (source, NULL, entries, cancellable, error) ? g_steal_pointer (&entries) : NULL;
}

struct vmf_vm *
vmf_source_check_only (struct vmf_vm *vm, const char *file, const char *name, GError **error)
{
    g_autofree char *base = g_path_get_basename (file);
    const char *own = vm && vm->name ? vm->name : base;
    if (!vm || !name || strcmp (own, name) == 0)
        return vm;
    g_autofree char *shown = vmf_text_printable (name, 60), *own_shown = vmf_text_printable (own, 60);
    g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "there is no machine '%s' in it, only '%s'", shown, own_shown);
    vmf_vm_free (vm);
    return NULL;
}
