/* SPDX-License-Identifier: GPL-2.0-or-later */
/* struct vmf_vm: the neutral description of a machine.
 *
 * Every reader (OVF, VMX, libvirt XML) makes one from text, every writer makes text from one; nothing here opens a disk
 * or a socket. The struct owns all it points to. A zeroed struct is a valid empty machine; an unknown number is 0, an
 * unknown string NULL. One thread at a time.
 *
 * Disks stand in the order in which the guest's firmware sees them; that order gives the names sda, sdb … of files and
 * messages. What a description said and we could not keep goes into `notes`, a sentence each, for the user.
 */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum vmf_origin
{
    VMF_ORIGIN_UNKNOWN,
    VMF_ORIGIN_VMWARE,
    VMF_ORIGIN_VIRTUALBOX,
    VMF_ORIGIN_OVIRT,
    VMF_ORIGIN_XEN_PV,
    VMF_ORIGIN_XEN_HVM,
    VMF_ORIGIN_KVM,   /* libvirt domain types kvm and qemu */
    VMF_ORIGIN_IMAGE, /* a bare image: nothing is known */
};

enum vmf_firmware
{
    VMF_FIRMWARE_BIOS,
    VMF_FIRMWARE_UEFI,
};

enum vmf_machine
{
    VMF_MACHINE_UNKNOWN,
    VMF_MACHINE_I440FX, /* "pc" */
    VMF_MACHINE_Q35,
    VMF_MACHINE_VIRT, /* aarch64 */
};

enum vmf_bus
{
    VMF_BUS_UNKNOWN,
    VMF_BUS_IDE,
    VMF_BUS_SATA,
    VMF_BUS_SCSI, /* any emulated SCSI adapter; the model is in `controller_model` */
    VMF_BUS_NVME,
    VMF_BUS_USB,
    VMF_BUS_FDC, /* floppy */
    VMF_BUS_XEN,
    VMF_BUS_VIRTIO_BLK,
    VMF_BUS_VIRTIO_SCSI,
};

enum vmf_device
{
    VMF_DEVICE_DISK,
    VMF_DEVICE_CDROM,
    VMF_DEVICE_FLOPPY,
};

/* How a description names the bytes of a disk. */
enum vmf_location
{
    VMF_LOCATION_NONE,   /* an empty drive */
    VMF_LOCATION_FILE,   /* `path`: as written, relative or absolute, not resolved */
    VMF_LOCATION_BLOCK,  /* `path`: a block device of this host */
    VMF_LOCATION_NBD,    /* `host` and `port`, or `socket`; and `export_name` */
    VMF_LOCATION_VOLUME, /* `pool` and `volume` of a libvirt storage pool */
    VMF_LOCATION_OTHER,  /* something we cannot open: `path` says what, for the error */
};

/* No chain is longer: readers refuse it. */
#define VMF_CHAIN_MAX 32

/* One image of a chain. `backing` is set only where the description itself names the chain (libvirt's <backingStore>).
 */
struct vmf_place
{
    enum vmf_location location;
    char *path;
    char *host;
    uint16_t port; /* 0: NBD's own, 10809 */
    char *socket;
    char *export_name; /* NULL: the default export, "" */
    bool tls;
    char *pool;
    char *volume;
    char *format; /* QEMU's driver name: raw, qcow2, vmdk, vpc, vhdx, vdi; NULL: not said */
    bool gzip;    /* the file as it lies there is compressed with gzip (OVF's ovf:compression) */
    struct vmf_place *backing;
};

struct vmf_disk
{
    char *id; /* the source's own name of it: "vmdisk1", "scsi0:0", "vda" */
    enum vmf_device device;
    struct vmf_place place;
    uint64_t capacity_bytes; /* 0: not said */
    enum vmf_bus bus;
    char *controller_model; /* "lsilogic", "VirtualSCSI", "virtio-scsi": as written */
    unsigned controller;    /* which controller of that bus */
    unsigned unit;          /* position on it */
    unsigned boot_order;    /* from 1; 0: not in it */
    char *serial;
    char *alias; /* the name a user sees: OVF's disk-alias or element name; NULL: none */
    bool read_only;
    bool shareable;
    bool keep_out; /* not to be imported; the user's choice */
};

struct vmf_nic
{
    char *id;           /* "ethernet0", "Network adapter 1", "vnet0" */
    char *mac;          /* lower case with colons; NULL: to be made */
    char *model;        /* as written: vmxnet3, E1000, virtio … */
    char *network;      /* the source's network, bridge or port group */
    char *map_network;  /* on the target: a libvirt network … */
    char *map_bridge;   /* … or a bridge; at most one of the two is set */
    char *virtual_port; /* "openvswitch" or NULL */
    unsigned boot_order;
    bool disconnected; /* the cable is not plugged in */
    bool keep_out;
    bool added; /* the source knows of no network card: this one is for the new machine */
};

struct vmf_vm
{
    char *name;
    char *uuid; /* canonical lower case, or NULL */
    char *description;
    enum vmf_origin origin;
    char *origin_product; /* "VMware ESX", "VirtualBox 7.0.6", vmx-19 …: for the user */

    char *arch;      /* x86_64, i686, aarch64; NULL: not said */
    char *os_id;     /* the source's own word: OVF's vmw:osType or id, VMX's guestOS, libosinfo URL */
    char *os_name;   /* for people: "Debian GNU/Linux 12 (64-bit)"; NULL: not said. Never a default (B9) */
    bool os_windows; /* the description says that it is a Windows */

    uint64_t memory_bytes;
    unsigned vcpus;
    unsigned sockets, cores, threads; /* 0: not said; otherwise their product is vcpus */
    char *cpu_model;                  /* for the target: NULL, "host-model", "host-passthrough" or a model's name */

    enum vmf_firmware firmware;
    bool secure_boot;
    bool tpm;
    bool running; /* it runs where it is now: its disks change */
    enum vmf_machine machine;
    char *machine_type; /* the user's own choice, as libvirt spells it; wins over `machine` */
    bool clock_localtime;
    bool has_sound;
    char *nvram_path;        /* the firmware's variables where the description names a file; as written */
    GPtrArray *boot_devices; /* char*: "hd", "cdrom", "network", in order; empty where devices carry boot_order */

    GPtrArray *disks; /* struct vmf_disk*, hard disks, CD-ROM and floppy drives */
    GPtrArray *nics;  /* struct vmf_nic* */
    GPtrArray *notes; /* char* */
};

struct vmf_vm *vmf_vm_new (void);
void vmf_vm_free (struct vmf_vm *vm);
typedef struct vmf_vm vmf_vm; /* for g_autoptr (vmf_vm) only */
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_vm, vmf_vm_free)

/* Each appends an empty one, owned by VM, and gives it back. */
struct vmf_disk *vmf_vm_add_disk (struct vmf_vm *vm);
struct vmf_nic *vmf_vm_add_nic (struct vmf_vm *vm);
void vmf_vm_add_note (struct vmf_vm *vm, const char *format, ...) G_GNUC_PRINTF (2, 3);
void vmf_place_clear (struct vmf_place *place);

/* The Nth (from 0) thing to import: hard disks that are not kept out, in order. NULL past the end. */
struct vmf_disk *vmf_vm_get_import_disk (const struct vmf_vm *vm, unsigned n);

/* "sda", "sdz", "sdaa" for 0, 25, 26. Caller frees. */
char *vmf_disk_letter_name (unsigned n);

/* The words that JSON, messages and options use: "vmware", "xen-pv", "uefi", "q35", "virtio-scsi", "cdrom" … */
const char *vmf_origin_name (enum vmf_origin origin);
const char *vmf_firmware_name (enum vmf_firmware firmware);
const char *vmf_machine_name (enum vmf_machine machine);
const char *vmf_bus_name (enum vmf_bus bus);
const char *vmf_device_name (enum vmf_device device);

/* QEMU's driver name for what users and descriptions call a format ("vmdk", "vhd", "vpc", "vdi", "img", an OVF format
   URI …), or NULL. vmf_format_from_path goes by the file name's extension, as "disk.vmdk"; never by content. */
const char *vmf_format_from_name (const char *name);
const char *vmf_format_from_path (const char *path);
