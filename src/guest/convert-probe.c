/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which virt-v2v-in-place is installed, and what it can (D4).
 *
 * Enterprise Linux keeps the program in /usr/libexec, out of PATH. virt-v2v 1.x had an --in-place option instead; it is
 * not used: it cannot open a disk over NBD.
 */
#include "guest/convert-parts.h"
#include "base/error.h"

#include <string.h>

static char *
find_program (void)
{
    static const char *const places[] = { "virt-v2v-in-place", "/usr/libexec/virt-v2v-in-place",
                                          "/usr/local/libexec/virt-v2v-in-place" };
    for (size_t i = 0; i < G_N_ELEMENTS (places); i++)
    {
        char *path = g_find_program_in_path (places[i]);
        if (path)
            return path;
    }
    return NULL;
}

static char *
ask (const char *program, const char *question, GCancellable *cancellable, GError **error)
{
    const char *const argv[] = { program, question, NULL };
    const struct vmf_child_options options = { .name = "virt-v2v-in-place", .argv = argv };
    return vmf_child_run (&options, 60000, cancellable, error);
}

/* "virt-v2v-in-place 2.2.0" and "virt-v2v 2.5.6rhel=9,release=..." alike. */
static char *
parse_version (const char *text)
{
    g_autoptr (GRegex) regex = g_regex_new ("virt-v2v\\S*\\s+([0-9]+(?:\\.[0-9]+)+)", 0, 0, NULL);
    g_autoptr (GMatchInfo) match = NULL;
    return g_regex_match (regex, text, 0, &match) ? g_match_info_fetch (match, 1) : NULL;
}

static bool
can (const struct vmf_v2v *v2v, const char *word)
{
    return v2v->can && g_strv_contains ((const char *const *)v2v->can, word);
}

bool
vmf_v2v_probe (struct vmf_v2v *v2v, GCancellable *cancellable, GError **error)
{
    v2v->program = find_program ();
    if (!v2v->program)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING,
                     "the program 'virt-v2v-in-place' is not installed (it comes with virt-v2v 2.0 or newer), so the "
                     "guest cannot be converted; 'vmferry doctor' names the package that has it, and --no-convert "
                     "imports the disks as they are");
        return false;
    }
    g_autofree char *version = ask (v2v->program, "--version", cancellable, error);
    g_autofree char *words = version ? ask (v2v->program, "--machine-readable", cancellable, error) : NULL;
    if (!words)
        return false;
    v2v->version = parse_version (version);
    v2v->can = g_strsplit (g_strchomp (words), "\n", -1);
    if (v2v->version && can (v2v, "input:libvirtxml"))
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING,
                 "%s (version %s) does not say that it reads libvirt XML; virt-v2v 2.0 or newer is needed",
                 v2v->program, v2v->version ? v2v->version : "unknown");
    return false;
}

void
vmf_v2v_clear (struct vmf_v2v *v2v)
{
    g_free (v2v->program);
    g_free (v2v->version);
    g_strfreev (v2v->can);
    *v2v = (struct vmf_v2v){ 0 };
}
