/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libvirt domain XML to struct vmf_vm: what kind of machine it is; disks are in read-libvirt-disk.c.
 *
 * Read are configurations as `virsh dumpxml --inactive` prints them for KVM, QEMU, Xen (PV, PVH, HVM), ESX and
 * VirtualBox. What stands in the host rather than in the machine (passed-through devices, shared folders, a kernel
 * outside of the disk) becomes a note.
 */
#include "vm/read.h"
#include "base/error.h"
#include "base/text.h"
#include "vm/facts.h"
#include "vm/libvirt-xml.h"

#include <string.h>

static const char what[] = "the libvirt XML";

/* libvirt's units: KB is 1000 bytes, K and KiB are 1024. */
static bool
read_memory (struct vmf_vm *vm, const xmlNode *domain, GError **error)
{
    static const struct
    {
        const char *unit;
        uint64_t bytes;
    } units[] = {
        { "b", 1 },
        { "bytes", 1 },
        { "KB", 1000 },
        { "k", 1024 },
        { "KiB", 1024 },
        { "MB", 1000000 },
        { "M", 1 << 20 },
        { "MiB", 1 << 20 },
        { "GB", 1000000000 },
        { "G", 1 << 30 },
        { "GiB", 1 << 30 },
        { "TB", UINT64_C (1000000000000) },
        { "T", UINT64_C (1) << 40 },
        { "TiB", UINT64_C (1) << 40 },
    };
    xmlNode *memory = vmf_xml_child (domain, "memory");
    g_autofree char *text = vmf_xml_text (memory);
    g_autofree char *unit = vmf_xml_attribute (memory, "unit");
    uint64_t amount = 0, factor = 1024;
    for (size_t i = 0; unit && i < G_N_ELEMENTS (units); i++)
        if (strcmp (unit, units[i].unit) == 0)
            factor = units[i].bytes;
    if (!vmf_xml_number (memory, text, "memory size", UINT64_MAX, &amount, error))
        return false;
    if (__builtin_mul_overflow (amount, factor, &vm->memory_bytes))
        vm->memory_bytes = UINT64_MAX;
    return true;
}

static bool
read_processors (struct vmf_vm *vm, const xmlNode *domain, GError **error)
{
    xmlNode *vcpu = vmf_xml_child (domain, "vcpu");
    g_autofree char *most = vmf_xml_text (vcpu);
    g_autofree char *now = vmf_xml_attribute (vcpu, "current");
    uint64_t count = 0, current = 0;
    if (!vmf_xml_number (vcpu, most ? most : "1", "number of processors", VMF_VCPUS_MAX, &count, error)
        || !vmf_xml_number (vcpu, now, "current number of processors", VMF_VCPUS_MAX, &current, error))
        return false;
    vm->vcpus = (unsigned)(current > 0 ? current : count);
    xmlNode *topology = vmf_xml_find (domain, "cpu/topology");
    static const char *const names[] = { "sockets", "dies", "cores", "threads" };
    uint64_t numbers[4] = { 0, 1, 0, 0 };
    for (size_t i = 0; topology && i < G_N_ELEMENTS (names); i++)
    {
        g_autofree char *text = vmf_xml_attribute (topology, names[i]);
        if (text && !vmf_xml_number (topology, text, names[i], VMF_VCPUS_MAX, &numbers[i], error))
            return false;
    }
    vmf_vm_set_topology (vm, numbers[0], numbers[1] * numbers[2], numbers[3]);
    return true;
}

static void
read_cpu_model (struct vmf_vm *vm, const xmlNode *domain)
{
    g_autofree char *mode = vmf_xml_find_attribute (domain, "cpu", "mode");
    if (vm->origin != VMF_ORIGIN_KVM)
        return;
    if (g_strcmp0 (mode, "host-model") == 0 || g_strcmp0 (mode, "host-passthrough") == 0)
        vm->cpu_model = g_steal_pointer (&mode);
    else if (g_strcmp0 (mode, "maximum") != 0)
        vm->cpu_model = vmf_xml_find_text (domain, "cpu/model");
}

static bool
read_origin (struct vmf_vm *vm, const xmlNode *domain, GError **error)
{
    g_autofree char *type = vmf_xml_attribute (domain, "type");
    g_autofree char *os = vmf_xml_find_text (domain, "os/type");
    const char *kind = type ? type : "";
    if (strcmp (kind, "kvm") == 0 || strcmp (kind, "qemu") == 0 || strcmp (kind, "hvf") == 0)
        vm->origin = VMF_ORIGIN_KVM;
    else if (strcmp (kind, "xen") == 0)
        vm->origin = g_strcmp0 (os, "hvm") == 0 ? VMF_ORIGIN_XEN_HVM : VMF_ORIGIN_XEN_PV;
    else if (strcmp (kind, "vmware") == 0)
        vm->origin = VMF_ORIGIN_VMWARE;
    else if (strcmp (kind, "vbox") == 0)
        vm->origin = VMF_ORIGIN_VIRTUALBOX;
    else
    {
        g_autofree char *shown = vmf_text_printable (kind, 40);
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                     "domains of type '%s' cannot be imported; kvm, qemu, xen, vmware and vbox can", shown);
        return false;
    }
    vm->origin_product = g_strdup_printf ("libvirt %s%s%s", kind, os ? " " : "", os ? os : "");
    return true;
}

static bool
has_feature (const xmlNode *os, const char *name)
{
    xmlNode *firmware = vmf_xml_child (os, "firmware");
    for (xmlNode *feature = vmf_xml_child (firmware, "feature"); feature; feature = vmf_xml_next (feature, "feature"))
        if (vmf_xml_attribute_is (feature, "name", name))
            return vmf_xml_attribute_is (feature, "enabled", "yes");
    return false;
}

static void
read_firmware (struct vmf_vm *vm, const xmlNode *os)
{
    xmlNode *loader = vmf_xml_child (os, "loader");
    g_autofree char *path = vmf_xml_text (loader);
    g_autofree char *lower = g_ascii_strdown (path ? path : "", -1);
    bool uefi = vmf_xml_attribute_is (os, "firmware", "efi") || vmf_xml_attribute_is (loader, "type", "pflash")
                || strstr (lower, "ovmf") || strstr (lower, "aavmf") || strstr (lower, "edk2");
    vm->firmware = uefi ? VMF_FIRMWARE_UEFI : VMF_FIRMWARE_BIOS;
    vm->secure_boot = uefi && (vmf_xml_attribute_is (loader, "secure", "yes") || has_feature (os, "secure-boot"));
    vm->nvram_path = vmf_xml_find_text (os, "nvram");
    g_autofree char *kernel = vmf_xml_find_text (os, "kernel");
    if (kernel)
        vmf_vm_add_note (
            vm,
            "the source boots the kernel %s of its own host, not the one on its disk; a boot loader on the "
            "disk is needed on the target",
            kernel);
}

static void
read_os (struct vmf_vm *vm, const xmlNode *domain)
{
    xmlNode *os = vmf_xml_child (domain, "os");
    vm->arch = vmf_xml_find_attribute (os, "type", "arch");
    g_autofree char *machine = vmf_xml_find_attribute (os, "type", "machine");
    if (machine && strstr (machine, "q35"))
        vm->machine = VMF_MACHINE_Q35;
    else if (machine && g_str_has_prefix (machine, "virt"))
        vm->machine = VMF_MACHINE_VIRT;
    else if (machine
             && (g_str_has_prefix (machine, "pc") || g_str_has_prefix (machine, "rhel")
                 || strcmp (machine, "xenfv") == 0))
        vm->machine = VMF_MACHINE_I440FX;
    read_firmware (vm, os);
    for (xmlNode *boot = vmf_xml_child (os, "boot"); boot; boot = vmf_xml_next (boot, "boot"))
    {
        g_autofree char *dev = vmf_xml_attribute (boot, "dev");
        static const char *const known[] = { "hd", "cdrom", "network", "fd", NULL };
        if (dev && g_strv_contains (known, dev)
            && !g_ptr_array_find_with_equal_func (vm->boot_devices, dev, g_str_equal, NULL))
            g_ptr_array_add (vm->boot_devices, g_steal_pointer (&dev));
    }
    vm->os_id = vmf_xml_find_attribute (domain, "metadata/libosinfo/os", "id");
    xmlNode *clock = vmf_xml_child (domain, "clock");
    vm->clock_localtime =
        vmf_xml_attribute_is (clock, "offset", "localtime") || vmf_xml_attribute_is (clock, "basis", "localtime");
}

static void
read_nic (struct vmf_vm *vm, const xmlNode *node)
{
    static const char *const sources[] = { "network", "bridge", "dev" };
    struct vmf_nic *nic = vmf_vm_add_nic (vm);
    xmlNode *source = vmf_xml_child (node, "source");
    g_autofree char *type = vmf_xml_attribute (node, "type");
    g_autofree char *mac = vmf_xml_find_attribute (node, "mac", "address");
    g_autofree char *order = vmf_xml_find_attribute (node, "boot", "order");
    nic->id = vmf_xml_find_attribute (node, "target", "dev");
    if (!nic->id)
        nic->id = g_strdup_printf ("net%u", vm->nics->len - 1);
    vmf_vm_set_mac (vm, nic, mac);
    nic->model = vmf_xml_find_attribute (node, "model", "type");
    for (size_t i = 0; i < G_N_ELEMENTS (sources) && !nic->network; i++)
        nic->network = vmf_xml_attribute (source, sources[i]);
    nic->disconnected = vmf_xml_attribute_is (vmf_xml_child (node, "link"), "state", "down");
    if (vmf_xml_attribute_is (vmf_xml_child (node, "virtualport"), "type", "openvswitch"))
        nic->virtual_port = g_strdup ("openvswitch");
    uint64_t number = 0;
    if (order && vmf_text_to_uint64 (order, "boot order", 1, VMF_DEVICES_MAX, &number, NULL))
        nic->boot_order = (unsigned)number;
    if (type && (strcmp (type, "hostdev") == 0 || strcmp (type, "vdpa") == 0))
        vmf_vm_add_note (vm, "network card %s is a device of the source's host (%s); the target gets an ordinary one",
                         nic->id, type);
}

/* What a domain can have that is not the machine's own; said, not kept. */
static void
note_devices (struct vmf_vm *vm, const xmlNode *devices)
{
    static const char *const names[][2] = {
        { "hostdev", "a device of the source's host that is passed through" },
        { "filesystem", "a folder shared with the source's host" },
        { "redirdev", "USB redirection" },
        { "smartcard", "a smart card reader" },
        { "shmem", "memory shared with another machine" },
        { "memory", "a memory module that can be unplugged" },
        { "watchdog", "a watchdog" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
        if (vmf_xml_child (devices, names[i][0]))
            vmf_vm_add_note (vm, "the source has %s (<%s>), which the target will not have", names[i][1], names[i][0]);
}

static bool
read_domain (struct vmf_vm *vm, const xmlNode *domain, GError **error)
{
    xmlNode *devices = vmf_xml_child (domain, "devices");
    vm->name = vmf_xml_find_text (domain, "name");
    g_autofree char *uuid = vmf_xml_find_text (domain, "uuid");
    vm->uuid = vmf_uuid_from_text (uuid);
    vm->description = vmf_xml_find_text (domain, "description");
    if (!vm->description)
        vm->description = vmf_xml_find_text (domain, "title");
    if (!read_origin (vm, domain, error) || !read_memory (vm, domain, error) || !read_processors (vm, domain, error))
        return false;
    read_os (vm, domain);
    read_cpu_model (vm, domain);
    vm->tpm = vmf_xml_child (devices, "tpm");
    vm->has_sound = vmf_xml_child (devices, "sound");
    for (xmlNode *node = vmf_xml_child (devices, "interface"); node; node = vmf_xml_next (node, "interface"))
        read_nic (vm, node);
    note_devices (vm, devices);
    if (!vmf_libvirt_read_disks (vm, devices, error))
        return false;
    vmf_vm_guess_from_os (vm);
    return vmf_vm_check (vm, error);
}

struct vmf_vm *
vmf_vm_read_libvirt (const char *text, size_t length, GError **error)
{
    g_autoptr (vmf_xml_doc) doc = vmf_xml_parse (text, length, what, error);
    if (!doc)
        return NULL;
    xmlNode *domain = xmlDocGetRootElement (doc);
    if (!vmf_xml_is (domain, "domain"))
    {
        g_autofree char *shown = vmf_text_printable ((const char *)domain->name, 40);
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s describes no machine: it begins with <%s>, not <domain>",
                     what, shown);
        return NULL;
    }
    g_autoptr (vmf_vm) vm = vmf_vm_new ();
    if (!read_domain (vm, domain, error))
    {
        g_prefix_error (error, "%s: ", what);
        return NULL;
    }
    return g_steal_pointer (&vm);
}
