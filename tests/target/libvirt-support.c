/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See libvirt-support.h. */
#include "libvirt-support.h"

#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *
virsh_file (struct lab *lab, const char *command, const char *xml)
{
    g_autofree char *path = g_build_filename (lab->work, "virsh.xml", NULL);
    g_assert_true (g_file_set_contents (path, xml, -1, NULL));
    char *output = output_of ("virsh", "-q", "-c", lab->uri, command, path, NULL);
    unlink (path);
    return output;
}

static void
remove_domains (struct lab *lab)
{
    g_autofree char *list = output_of ("virsh", "-q", "-c", lab->uri, "list", "--all", "--name", NULL);
    g_auto (GStrv) names = g_strsplit (list, "\n", -1);
    for (size_t i = 0; names[i]; i++)
        if (*names[i])
            g_free (output_of ("virsh", "-q", "-c", lab->uri, "undefine", "--snapshots-metadata", names[i], NULL));
}

void
lab_set_up (struct lab *lab, const void *data)
{
    lab->uri = g_getenv ("VMF_LAB_LIBVIRT_URI");
    lab->folder = new_folder ();
    lab->work = new_folder ();
    lab->vm = sample_vm ();
    struct vmf_nic *nic = g_ptr_array_index (lab->vm->nics, 0);
    nic->map_network = g_strdup ("lab");
    lab->wishes[0] = (struct vmf_target_disk_wish){ .format = "qcow2", .size_bytes = 8 << 20 };
    lab->wishes[1] = (struct vmf_target_disk_wish){ .format = "raw", .size_bytes = 3 << 20 };
    g_autofree char *pool = g_markup_printf_escaped (
        "<pool type='dir'><name>default</name><target><path>%s</path></target></pool>", lab->folder);
    const char *const steps[][3] = { { "pool-define", pool, NULL },
                                     { "net-define", "<network><name>lab</name></network>", NULL } };
    for (size_t i = 0; i < G_N_ELEMENTS (steps); i++)
        g_free (virsh_file (lab, steps[i][0], steps[i][1]));
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "pool-start", "default", NULL));
}

void
lab_tear_down (struct lab *lab, const void *data)
{
    remove_domains (lab);
    /* A test may have stopped it. */
    g_autofree char *destroy = g_strdup_printf ("virsh -q -c '%s' pool-destroy default", lab->uri), *said = NULL;
    g_spawn_command_line_sync (destroy, NULL, &said, NULL, NULL);
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "pool-undefine", "default", NULL));
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "net-undefine", "lab", NULL));
    remove_tree (lab->folder);
    remove_tree (lab->work);
    g_free (lab->folder);
    g_free (lab->work);
    g_free (lab->uuid);
    vmf_vm_free (lab->vm);
}

static void
skip (const void *reason)
{
    g_test_skip (reason);
}

void
lab_add (const char *path, const void *data, void (*function) (struct lab *lab, const void *data))
{
    const char *why = g_getenv ("VMF_LAB_LIBVIRT_SKIP");
    if (g_getenv ("VMF_LAB_LIBVIRT_URI"))
        g_test_add (path, struct lab, data, lab_set_up, function, lab_tear_down);
    else
        g_test_add_data_func (path, why ? why : "this runs inside tests/lab/libvirtd", skip);
}

struct vmf_target *
lab_open (struct lab *lab)
{
    g_autoptr (GError) error = NULL;
    const struct vmf_target_options options = { .work_dir = lab->work, .replace = lab->replace };
    struct vmf_target *target = vmf_target_open (lab->uri, &options, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (target->ops->name, ==, "libvirt");
    return target;
}

char *
lab_domain_xml (const struct lab *lab, const char *name, const char *uuid, const char *mac, const char *const *disks)
{
    g_autoptr (GString) xml = g_string_new (NULL);
    g_string_append_printf (xml, "<domain type='qemu'><name>%s</name>", name);
    if (uuid)
        g_string_append_printf (xml, "<uuid>%s</uuid>", uuid);
    g_string_append (xml, "<memory unit='MiB'>64</memory><os><type arch='x86_64'>hvm</type></os><devices>");
    for (size_t i = 0; disks && disks[i]; i++)
        g_string_append_printf (xml,
                                "<disk type='file' device='disk'><driver name='qemu' type='%s'/><source file='%s'/>"
                                "<target dev='vd%c' bus='virtio'/></disk>",
                                g_str_has_suffix (disks[i], ".qcow2") ? "qcow2" : "raw", disks[i], (char)('a' + i));
    if (mac)
        g_string_append_printf (xml, "<interface type='network'><mac address='%s'/><source network='lab'/></interface>",
                                mac);
    g_string_append (xml, "</devices></domain>");
    return g_string_free (g_steal_pointer (&xml), FALSE);
}

void
lab_define (struct lab *lab, const char *name, const char *uuid, const char *mac, const char *const *disks)
{
    g_autofree char *xml = lab_domain_xml (lab, name, uuid, mac, disks);
    g_free (virsh_file (lab, "define", xml));
}

void
lab_define_with (struct lab *lab, const char *name, const char *devices)
{
    g_autofree char *xml = g_strdup_printf ("<domain type='qemu'><name>%s</name><memory unit='MiB'>64</memory><os>"
                                            "<type arch='x86_64'>hvm</type></os><devices>%s</devices></domain>",
                                            name, devices);
    g_free (virsh_file (lab, "define", xml));
}

char *
lab_volume (struct lab *lab, const char *name)
{
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "vol-create-as", "default", name, "1M", NULL));
    return g_build_filename (lab->folder, name, NULL);
}

bool
lab_import (struct lab *lab, GError **error)
{
    g_autoptr (vmf_target) target = lab_open (lab);
    g_autoptr (GPtrArray) disks = target->ops->create (target, lab->vm, lab->wishes, 2, NULL, error);
    g_autofree char *made = NULL;
    if (disks)
    {
        const struct vmf_target_disk *first = g_ptr_array_index (disks, 0), *second = g_ptr_array_index (disks, 1);
        const char *paths[] = { first->final_path, second->final_path, NULL };
        g_autofree char *xml = lab_domain_xml (lab, lab->vm->name, lab->uuid, NULL, paths);
        write_start (second->path, "new");
        made = target->ops->finish (target, lab->vm, xml, error);
    }
    if (made)
        return true;
    g_autoptr (GError) failed = NULL;
    target->ops->abort (target, &failed);
    g_assert_no_error (failed);
    return false;
}

static int
compare_words (const void *a, const void *b)
{
    return strcmp (*(const char *const *)a, *(const char *const *)b);
}

/* The first word of each of LINES, which are freed. */
static char *
sorted_words (char *lines)
{
    g_auto (GStrv) all = g_strsplit (lines, "\n", -1);
    g_autoptr (GPtrArray) words = g_ptr_array_new_with_free_func (g_free);
    for (size_t i = 0; all[i]; i++)
    {
        char *word = g_strstrip (all[i]);
        if (*word)
            g_ptr_array_add (words, g_strndup (word, strcspn (word, " ")));
    }
    g_free (lines);
    g_ptr_array_sort (words, compare_words);
    g_ptr_array_add (words, NULL);
    return g_strjoinv (" ", (char **)words->pdata);
}

char *
lab_state (struct lab *lab)
{
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "pool-refresh", "default", NULL));
    g_autofree char *domains =
        sorted_words (output_of ("virsh", "-q", "-c", lab->uri, "list", "--all", "--name", NULL));
    g_autofree char *volumes = sorted_words (output_of ("virsh", "-q", "-c", lab->uri, "vol-list", "default", NULL));
    g_autofree char *files = names_in (lab->folder);
    return g_strjoin ("|", domains, volumes, files, NULL);
}

void
lab_assert_state (struct lab *lab, const char *expected)
{
    g_autofree char *state = lab_state (lab);
    g_assert_cmpstr (state, ==, expected);
}

GPtrArray *
lab_check (struct lab *lab)
{
    g_autoptr (vmf_target) target = lab_open (lab);
    g_autoptr (GError) error = NULL;
    GPtrArray *findings = vmf_findings_new ();
    target->ops->check (target, lab->vm, lab->wishes, 2, findings, &error);
    g_assert_no_error (error);
    return findings;
}
