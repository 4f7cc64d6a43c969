/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A failed conversion in a user's words: what virt-v2v said, what to do about it, where the log is.
 *
 * virt-v2v's own errors come first. Why the appliance did not start stands only in the log around them, so causes are
 * looked for there too.
 */
#include "guest/convert-parts.h"
#include "base/error.h"
#include "base/text.h"

#include <string.h>

static const struct cause
{
    const char *sign; /* in virt-v2v's error or anywhere in its log */
    bool in_log;
    enum vmf_error code;
    const char *remedy;
} causes[] = {
    { "Windows Hibernation or Fast Restart", false, VMF_ERROR_FAILED,
      "start the guest at its source, turn fast start-up off ('powercfg /h off'), shut it down fully, and import "
      "again" },
    { "filesystem was mounted read-only", false, VMF_ERROR_FAILED,
      "a file system of the guest was not unmounted cleanly: shut the guest down at its source (Windows: with fast "
      "start-up off, after 'chkdsk /f') and import again" },
    { "No root device found", false, VMF_ERROR_FAILED,
      "no operating system was found: the disks may be data disks (import with --no-convert), encrypted, or the "
      "Windows on them hibernated" },
    { "not enough free space for conversion", false, VMF_ERROR_NO_SPACE,
      "the guest's own file system is too full to be converted: free some space in the guest and import again" },
    { "insufficient free space in the conversion server", false, VMF_ERROR_NO_SPACE,
      "free space in the work directory's file system, or choose another one with --work" },
    { "rhsrvany.exe", false, VMF_ERROR_MISSING,
      "install the package with rhsrvany.exe (virt-v2v's Windows helpers: 'vmferry doctor' names it)" },
    { "virtio-win", false, VMF_ERROR_MISSING,
      "check the setting virtio_win: it must name a virtio-win ISO or directory ('vmferry doctor' says more)" },
    { "LUKS encrypted", false, VMF_ERROR_FAILED,
      "the guest's disk is encrypted and no key is known; decrypt it at its source, or import with --no-convert" },
    { "multi-boot operating systems", false, VMF_ERROR_FAILED, "choose the root file system to convert with --root" },
    { "no installed kernel packages were found", false, VMF_ERROR_FAILED,
      "the guest boots a kernel that no package owns; install a packaged one in it and import again" },
    { "only Xen kernels are installed", false, VMF_ERROR_FAILED,
      "install a kernel in the guest that runs without Xen, and import again" },
    { "failed to find a suitable kernel", true, VMF_ERROR_MISSING,
      "libguestfs found no kernel on this host that it can read: install one ('vmferry doctor' names the package), or "
      "let this user read /boot/vmlinuz-*" },
    { "cached appliance", true, VMF_ERROR_FAILED,
      "libguestfs' cached appliance belongs to another user: set LIBGUESTFS_CACHEDIR to a directory of your own" },
    { "failed to set MSR", true, VMF_ERROR_FAILED,
      "KVM does not work on this host: set libguestfs.backend_settings to force_tcg" },
    { "No space left on device", true, VMF_ERROR_NO_SPACE,
      "the work directory's or the temporary directory's file system is full: free space or choose another with "
      "--work" },
    { "guestfs_launch failed", false, VMF_ERROR_FAILED,
      "libguestfs' appliance did not start: run 'libguestfs-test-tool' on this host; where KVM is unreliable, set "
      "libguestfs.backend_settings to force_tcg" },
    { "appliance closed the connection unexpectedly", true, VMF_ERROR_FAILED,
      "libguestfs' appliance died: run 'libguestfs-test-tool' on this host; where KVM is unreliable, set "
      "libguestfs.backend_settings to force_tcg" },
};

static void
collect_error (const char *type, const char *text, void *data)
{
    GString *said = data;
    if (!g_str_equal (type, "error") || said->len > 4000)
        return;
    g_autofree char *flat = g_strdup (text);
    g_strdelimit (flat, "\n\t", ' ');
    g_auto (GStrv) words = g_strsplit (flat, " ", -1);
    g_autoptr (GString) joined = g_string_new (NULL);
    for (size_t i = 0; words[i]; i++)
        if (*words[i])
            g_string_append_printf (joined, "%s%s", joined->len ? " " : "", words[i]);
    g_autofree char *line = vmf_text_printable (joined->str, 1200);
    g_string_append_printf (said, "%s%s", said->len ? "; " : "", line);
}

/* Where virt-v2v could not even write its messages file, "virt-v2v-in-place: error: …" in the log is what there is.
   MARKS gets a bit for each cause whose sign the log shows. */
static void
scan_log (const char *path, GString *said, uint32_t *marks)
{
    g_autoptr (GFile) file = g_file_new_for_path (path);
    g_autoptr (GFileInputStream) raw = g_file_read (file, NULL, NULL);
    g_autoptr (GDataInputStream) lines = raw ? g_data_input_stream_new (G_INPUT_STREAM (raw)) : NULL;
    bool look_for_error = said->len == 0;
    char *line;
    while (lines && (line = g_data_input_stream_read_line (lines, NULL, NULL, NULL)))
    {
        const char *at = g_str_has_prefix (line, "virt-v2v") ? strstr (line, ": error: ") : NULL;
        if (look_for_error && at)
            collect_error ("error", at + strlen (": error: "), said);
        for (size_t i = 0; i < G_N_ELEMENTS (causes); i++)
            if (causes[i].in_log && strstr (line, causes[i].sign))
                *marks |= (uint32_t)1 << i;
        g_free (line);
    }
}

G_STATIC_ASSERT (G_N_ELEMENTS (causes) <= 32);

void
vmf_v2v_explain (const char *log_path, const char *messages_path, const GError *child_error, GError **error)
{
    g_autoptr (GString) said = g_string_new (NULL);
    uint32_t marks = 0;
    vmf_v2v_read_messages (messages_path, collect_error, said);
    scan_log (log_path, said, &marks);
    const struct cause *cause = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS (causes) && !cause; i++)
        if ((marks & (uint32_t)1 << i) || (!causes[i].in_log && strstr (said->str, causes[i].sign)))
            cause = &causes[i];
    g_set_error (error, VMF_ERROR, cause ? (int)cause->code : VMF_ERROR_FAILED,
                 "virt-v2v could not convert the guest: %s%s%s; the full log is %s",
                 said->len ? said->str : (child_error ? child_error->message : "it did not say why"), cause ? "; " : "",
                 cause ? cause->remedy : "", log_path);
}
