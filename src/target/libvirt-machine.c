/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether this host can run the machine at all (B11, B18): memory, processors, machine type, firmware, TPM, CPU model.
 *
 * What makes defining the domain fail, after hours of copying, blocks; what only keeps it from starting today warns.
 */
#include "base/text.h"
#include "target/libvirt-host.h"

#include <string.h>

/* Free memory and what the kernel gives back when asked. 0: not known. */
static uint64_t
spare_memory (virConnect *connection)
{
    virNodeMemoryStats stats[16];
    int n = G_N_ELEMENTS (stats);
    uint64_t kib = 0;
    if (virNodeGetMemoryStats (connection, VIR_NODE_MEMORY_STATS_ALL_CELLS, stats, &n, 0) != 0)
        n = 0;
    for (int i = 0; i < n; i++)
        if (strcmp (stats[i].field, VIR_NODE_MEMORY_STATS_TOTAL) != 0)
            kib += stats[i].value;
    virResetLastError ();
    return kib * 1024;
}

static void
check_size (virConnect *connection, const struct vmf_vm *vm, GPtrArray *findings)
{
    virNodeInfo node;
    if (virNodeGetInfo (connection, &node) != 0)
        return virResetLastError ();
    uint64_t total = (uint64_t)node.memory * 1024, spare = spare_memory (connection);
    g_autofree char *wanted = vmf_text_from_size (vm->memory_bytes);
    g_autofree char *total_shown = vmf_text_from_size (total), *spare_shown = vmf_text_from_size (spare);
    if (vm->memory_bytes > total)
        vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                          "the machine has %s of memory and this host %s; give it less with --memory", wanted,
                          total_shown);
    else if (spare > 0 && vm->memory_bytes > spare)
        vmf_findings_add (findings, VMF_FINDING_WARNING,
                          "the machine has %s of memory, and this host can spare only %s now", wanted, spare_shown);
    if (vm->vcpus > node.cpus)
        vmf_findings_add (findings, VMF_FINDING_WARNING,
                          "the machine has %u virtual CPUs and this host %u CPUs: it will run, slowly", vm->vcpus,
                          node.cpus);
}

static bool
offers (const char *capabilities, const char *expression)
{
    g_autofree char *found = vmf_libvirt_xpath_first (capabilities, expression);
    return found != NULL;
}

static void
check_firmware (const char *capabilities, const struct vmf_vm *vm, const char *machine, GPtrArray *findings)
{
    if (vm->firmware == VMF_FIRMWARE_UEFI
        && !offers (capabilities, "/domainCapabilities/os/enum[@name='firmware']/value[.='efi']"))
        vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                          "the machine boots by UEFI, and this hypervisor has no UEFI firmware; install it (package "
                          "ovmf, edk2-ovmf or qemu-efi-aarch64)");
    else if (vm->secure_boot
             && !offers (capabilities, "/domainCapabilities/os/loader/enum[@name='secure']/value[.='yes']"))
        vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                          "the machine uses Secure Boot, and this hypervisor has no firmware for it on machine type "
                          "%s; Secure Boot needs q35 and OVMF",
                          machine);
    if (vm->tpm
        && !offers (capabilities, "/domainCapabilities/devices/tpm/enum[@name='backendModel']/"
                                  "value[.='emulator']"))
        vmf_findings_add (findings, VMF_FINDING_WARNING,
                          "the machine has a TPM, and this hypervisor cannot emulate one yet; install the package "
                          "swtpm before the domain is started");
}

static void
check_cpu (const char *capabilities, const struct vmf_vm *vm, GPtrArray *findings)
{
    if (!vm->cpu_model || g_str_has_prefix (vm->cpu_model, "host-") || strcmp (vm->cpu_model, "maximum") == 0)
        return;
    g_auto (GStrv) known = vmf_libvirt_xpath (capabilities, "/domainCapabilities/cpu/mode[@name='custom']/model");
    g_auto (GStrv) unusable =
        vmf_libvirt_xpath (capabilities, "/domainCapabilities/cpu/mode[@name='custom']/model[@usable='no']");
    if (known[0] && !g_strv_contains ((const char *const *)known, vm->cpu_model))
        vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                          "this hypervisor knows no CPU model '%s'; virsh cpu-models lists what it knows, and "
                          "--cpu-model host-model always works",
                          vm->cpu_model);
    else if (g_strv_contains ((const char *const *)unusable, vm->cpu_model))
        vmf_findings_add (findings, VMF_FINDING_WARNING,
                          "this host's processor lacks something of the CPU model '%s', so the domain will not start "
                          "here; --cpu-model host-model does",
                          vm->cpu_model);
}

void
vmf_libvirt_check_machine (virConnect *connection, const struct vmf_vm *vm, GPtrArray *findings)
{
    /* What the conversion will find out may still change it. */
    const struct vmf_domain_machine chosen = vmf_domain_choose_machine (vm, &(struct vmf_guest_caps){ 0 });
    g_autofree char *capabilities =
        virConnectGetDomainCapabilities (connection, NULL, chosen.arch, chosen.type, NULL, 0);
    if (!capabilities)
    {
        vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                          "this hypervisor cannot run a machine of type %s for %s: %s; choose another with --machine",
                          chosen.type, chosen.arch, virGetLastErrorMessage ());
        virResetLastError ();
    }
    check_size (connection, vm, findings);
    if (!capabilities)
        return;
    g_autofree char *max = vmf_libvirt_xpath_first (capabilities, "/domainCapabilities/vcpu/@max");
    uint64_t max_vcpus = 0;
    if (max && vmf_text_to_uint64 (max, "vcpus", 1, UINT32_MAX, &max_vcpus, NULL) && vm->vcpus > max_vcpus)
        vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                          "the machine has %u virtual CPUs, and machine type %s takes at most %s; give it fewer with "
                          "--cpus, or choose another with --machine",
                          vm->vcpus, chosen.type, max);
    check_firmware (capabilities, vm, chosen.type, findings);
    check_cpu (capabilities, vm, findings);
}
