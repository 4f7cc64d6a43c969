/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands against importing a machine of vSphere, or is worth knowing, before anything is touched (X8): by what the
 * server says of it. A table of small checks; each adds what it has to say.
 */
#include "source/vsphere/roads.h"

struct subject
{
    const struct vsphere_source *source;
    const struct vmf_vsphere_machine *machine;
    const struct vmf_vm *vm;
    GPtrArray *findings;
};

static bool
runs (const struct subject *subject)
{
    return subject->machine->power == VMF_POWER_ON && !subject->source->shut_down;
}

static void
check_power (const struct subject *subject)
{
    if (subject->machine->power == VMF_POWER_SUSPENDED)
        vmf_findings_add (
            subject->findings, VMF_FINDING_BLOCKING,
            "%s is suspended: what its memory holds would be lost, and its file systems are as they were in "
            "the middle of work; resume it and shut it down first",
            subject->machine->name);
    else if (runs (subject) && subject->vm->os_windows)
        vmf_findings_add (subject->findings, VMF_FINDING_BLOCKING,
                          "%s is a Windows that runs: from a snapshot its file systems would need repair, and drivers "
                          "cannot be put in; shut it down first, or let that be done with --shut-down",
                          subject->machine->name);
    else if (runs (subject))
        vmf_findings_add (
            subject->findings, VMF_FINDING_WARNING,
            "%s runs: it is read from a snapshot, as after a power failure; what it writes from now on does "
            "not reach the new VM. --shut-down shuts it down first",
            subject->machine->name);
}

static void
check_tools (const struct subject *subject)
{
    if (subject->machine->power == VMF_POWER_ON && subject->source->shut_down && !subject->machine->tools_running)
        vmf_findings_add (subject->findings, VMF_FINDING_BLOCKING,
                          "VMware Tools do not run in %s, so it cannot be shut down from outside; do that in the guest",
                          subject->machine->name);
}

static void
check_encryption (const struct subject *subject)
{
    if (subject->machine->encrypted)
        vmf_findings_add (
            subject->findings, VMF_FINDING_BLOCKING,
            "%s is encrypted: its disks cannot be read from outside; decrypt it (edit its storage policy) "
            "first",
            subject->machine->name);
    if (subject->machine->has_vtpm)
        vmf_findings_add (subject->findings, VMF_FINDING_WARNING,
                          "%s has a virtual TPM, whose content cannot be taken along: suspend BitLocker, or have its "
                          "recovery key at hand, before it starts at the target",
                          subject->machine->name);
}

static void
check_disk (const struct subject *subject, const struct vmf_vsphere_disk *disk)
{
    if (disk->rdm)
        vmf_findings_add (
            subject->findings, VMF_FINDING_WARNING,
            "disk %s is a raw device mapping: it is read as a disk, and the new VM gets a copy of the LUN", disk->id);
    if (disk->independent && runs (subject))
        vmf_findings_add (subject->findings, VMF_FINDING_BLOCKING,
                          "disk %s is independent of snapshots, so it cannot be read while %s runs; shut that down, or "
                          "leave the disk out with --disk",
                          disk->id, subject->machine->name);
    if (disk->encrypted && !subject->machine->encrypted)
        vmf_findings_add (subject->findings, VMF_FINDING_BLOCKING,
                          "disk %s is encrypted; decrypt it first, or leave it out with --disk", disk->id);
}

static void
check_disks (const struct subject *subject)
{
    for (guint i = 0; i < subject->machine->disks->len; i++)
        check_disk (subject, g_ptr_array_index (subject->machine->disks, i));
}

static void
check_snapshots (const struct subject *subject)
{
    unsigned ours = 0, own = 0;
    g_autofree char *held = vsphere_held_name (subject->source);
    for (guint i = 0; i < subject->machine->snapshots->len; i++)
    {
        const struct vmf_vsphere_snapshot *one = g_ptr_array_index (subject->machine->snapshots, i);
        if (g_strcmp0 (one->name, held) == 0) /* this import's, which is resumed */
            own++;
        else if (vmf_vsphere_snapshot_is_ours (one))
            ours++;
    }
    if (ours)
        vmf_findings_add (
            subject->findings, VMF_FINDING_WARNING,
            "%s has a snapshot that vmferry made: another import of it runs, or was killed; 'vmferry doctor "
            "%s' tells how to remove it",
            subject->machine->name, subject->source->base.address);
    if (subject->machine->snapshots->len > ours + own)
        vmf_findings_add (subject->findings, VMF_FINDING_INFO,
                          "%s has %u snapshots of its own: its present state is imported, the snapshots are not",
                          subject->machine->name, subject->machine->snapshots->len - ours - own);
}

static void
check_system (const struct subject *subject)
{
    if (!subject->vm->os_id && !subject->vm->os_name)
        vmf_findings_add (subject->findings, VMF_FINDING_WARNING,
                          "vSphere does not know the guest's operating system; the conversion finds out");
}

void
vsphere_check_machine (const struct vsphere_source *source, const struct vmf_vm *vm, GPtrArray *findings)
{
    static void (*const checks[]) (const struct subject *subject) = { check_power,     check_tools, check_encryption,
                                                                      check_snapshots, check_disks, check_system };
    struct subject subject = { source, source->machine, vm, findings };
    for (size_t i = 0; i < G_N_ELEMENTS (checks); i++)
        checks[i](&subject);
}
