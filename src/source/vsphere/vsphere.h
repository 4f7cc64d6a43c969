/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client of the vSphere Web Services API (SOAP, vim25): what importing needs of vCenter and ESXi, and no more.
 *
 * A session is a cookie and two curl handles behind locks, the second for waits: any thread may call. Each call re-logs
 * in once where the server has forgotten the session. Errors name the server, what was asked and the remedy; the
 * fault's type decides the code, never its words. Names, references ("moref") and paths from the server are opaque
 * text.
 *
 * Order of calls: login, anything, free (which logs out, and ends what it still holds: leases).
 */
#pragma once
#include "base/tls.h"
#include "disk/extents.h"
#include "vm/vm.h"
#include <gio/gio.h>

struct vmf_vsphere_options
{
    const char *host;
    uint16_t port; /* 0: 443 */
    const char *user;
    const char *password;
    struct vmf_tls_trust trust;
    int64_t timeout_ms; /* for one answer; 0: 60 s */
    int64_t cancel_ms;  /* for the end of a task that was cancelled; 0: 2 minutes */
};

typedef struct vmf_vsphere vmf_vsphere;

/* VMF_ERROR_AUTH: wrong user or password. VMF_ERROR_UNSAFE: the certificate is not trusted, or not the pinned one: both
   thumbprints are in the message. */
struct vmf_vsphere *vmf_vsphere_login (const struct vmf_vsphere_options *options, GCancellable *cancellable,
                                       GError **error);
void vmf_vsphere_free (struct vmf_vsphere *vsphere);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_vsphere, vmf_vsphere_free)

struct vmf_vsphere_about
{
    char *product, *version, *build; /* "VMware vCenter Server", "8.0.2", "22617221" */
    bool is_vcenter;                 /* api type VirtualCenter, otherwise HostAgent */
};
const struct vmf_vsphere_about *vmf_vsphere_get_about (const struct vmf_vsphere *vsphere);

/* "vmware_soap_session=…" for /folder and lease URLs; current after each call. Caller frees. */
char *vmf_vsphere_get_cookie (struct vmf_vsphere *vsphere);
/* The server's leaf certificate as the login believed it: its thumbprint, and PEM for programs that take a CA file.
   Does not change. Borrowed. */
const char *vmf_vsphere_get_thumbprint (struct vmf_vsphere *vsphere);
const char *vmf_vsphere_get_certificate_pem (struct vmf_vsphere *vsphere);

/* Asks the server for its time: keeps the session from ending. */
bool vmf_vsphere_keep_alive (struct vmf_vsphere *vsphere, GCancellable *cancellable, GError **error);

/* ---- inventory ---- */

enum vmf_vsphere_power
{
    VMF_POWER_UNKNOWN,
    VMF_POWER_OFF,
    VMF_POWER_ON,
    VMF_POWER_SUSPENDED,
};

struct vmf_vsphere_row
{
    char *moref; /* "vm-1234" */
    char *name;
    char *host, *cluster, *datacenter; /* names; "" where there is none */
    char *folder;                      /* "a/b" below the datacenter's VM folder, "" at its top */
    char *os_id, *os_name;
    enum vmf_vsphere_power power;
    bool is_template;
    uint64_t capacity_bytes; /* as provisioned: what it uses of its datastores, and may come to use */
    unsigned n_disks;
    char *problem; /* why it cannot be told more of; NULL: nothing is wrong */
};

/* All may be NULL: any. All but the tag are patterns with * and ?, without regard to case. A datacenter's path
   ("folder/DC0") is taken too; OS is the id or the name. */
struct vmf_vsphere_filter
{
    const char *datacenter, *cluster, *host, *folder, *name, *os, *tag;
    enum vmf_vsphere_power power; /* UNKNOWN: any */
};

/* What an address's path comes to, for such a filter; its strings are freed by vmf_vsphere_place_clear(). */
struct vmf_vsphere_place
{
    char *datacenter, *cluster, *host; /* NULL: any */
};
/* WORDS: of the address of a vCenter; may be empty. VMF_ERROR_NOT_FOUND: that is not there, and what is. */
bool vmf_vsphere_find_place (struct vmf_vsphere *vsphere, char *const *words, struct vmf_vsphere_place *place,
                             GCancellable *cancellable, GError **error);
/* Borrows from PLACE. */
struct vmf_vsphere_filter vmf_vsphere_place_filter (const struct vmf_vsphere_place *place);
void vmf_vsphere_place_clear (struct vmf_vsphere_place *place);

/* struct vmf_vsphere_row*, freed with the array, by name. Memory is the rows' and one object's: answers come in pages
   and are read as they arrive. NOT_FOUND: no such tag; a datacenter, host … that is not there gives no rows. A folder
   takes those below it. */
GPtrArray *vmf_vsphere_list (struct vmf_vsphere *vsphere, const struct vmf_vsphere_filter *filter,
                             GCancellable *cancellable, GError **error);

/* ---- an inventory that follows the server ---- */

typedef struct vmf_vsphere_inventory vmf_vsphere_inventory;
/* BEFORE NULL: it is new; AFTER NULL: it is gone, or FILTER does not let it through any more. Both are the inventory's,
   for the time of the call. */
typedef void (*vmf_vsphere_on_change) (const struct vmf_vsphere_row *before, const struct vmf_vsphere_row *after,
                                       void *data);

/* A list that is kept: it is read once, and then the server tells what changes, a few hundred bytes for each. Asks
   nothing yet; FILTER (may be NULL) is copied. One thread at a time; free it before its session. It waits where tasks
   are waited for, so give it a session of its own where others work beside. */
struct vmf_vsphere_inventory *vmf_vsphere_inventory_new (struct vmf_vsphere *vsphere,
                                                         const struct vmf_vsphere_filter *filter);
void vmf_vsphere_inventory_free (struct vmf_vsphere_inventory *inventory);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_vsphere_inventory, vmf_vsphere_inventory_free)
/* Tells ON_CHANGE (NULL: nobody) what is different since the last call; the first tells all as new, by name. Others
   wait for the first change, at most TIMEOUT_MS (0: only looks). A lost session is no change: all is read again, and
   compared. After an error it can be called again. NOT_FOUND: no such tag; tags are looked at again twice a minute. */
bool vmf_vsphere_inventory_poll (struct vmf_vsphere_inventory *inventory, int64_t timeout_ms,
                                 vmf_vsphere_on_change on_change, void *data, GCancellable *cancellable,
                                 GError **error);
/* What was told, by name: const struct vmf_vsphere_row*, valid until the next poll. Caller unrefs. */
GPtrArray *vmf_vsphere_inventory_get_rows (struct vmf_vsphere_inventory *inventory);

/* ---- one machine ---- */

struct vmf_vsphere_disk
{
    int32_t key;     /* the device's; how disks are matched, never by order */
    char *id;        /* vmf_disk.id of the description */
    char *path;      /* "[datastore] folder/name.vmdk": of the current disk, or of the snapshot's */
    char *base_path; /* the chain's oldest file; the same as path without snapshots */
    char *datastore;
    char *change_id; /* NULL: changed block tracking is off */
    uint64_t capacity_bytes;
    bool independent; /* not in snapshots */
    bool rdm, shared, encrypted, is_delta;
};

typedef struct vmf_vsphere_machine vmf_vsphere_machine; /* for g_autoptr only */
struct vmf_vsphere_machine
{
    char *moref, *name;
    struct vmf_vm *vm;
    enum vmf_vsphere_power power;
    char *host_moref, *host_name; /* as vCenter calls it: what a client connects to at 902 */
    char *host_version;
    char *datacenter;     /* for /folder's dcPath: "DC0", "folder/DC0" */
    GPtrArray *disks;     /* struct vmf_vsphere_disk* */
    GPtrArray *snapshots; /* struct vmf_vsphere_snapshot* */
    bool tools_running, encrypted, has_vtpm, change_tracking, change_tracking_supported;
    char *vmx_path;
};

/* How the description of each snapshot of ours begins: by it leftovers are found, whoever made them. */
#define VMF_SNAPSHOT_MARK "vmferry:"

struct vmf_vsphere_snapshot
{
    char *moref, *name, *description;
    char *created_at; /* RFC 3339 */
    unsigned depth;   /* 0: a root */
    bool current;
};
bool vmf_vsphere_snapshot_is_ours (const struct vmf_vsphere_snapshot *snapshot);

/* NAME: a name, a moref ("vm-12"), or a path "datacenter/folder/name"; NULL: the only one. VMF_ERROR_NOT_FOUND; USAGE
   where several have it, named with their paths. */
struct vmf_vsphere_machine *vmf_vsphere_describe (struct vmf_vsphere *vsphere, const struct vmf_vsphere_filter *within,
                                                  const char *name, GCancellable *cancellable, GError **error);
/* By its moref, whatever other machines are called. */
struct vmf_vsphere_machine *vmf_vsphere_describe_reference (struct vmf_vsphere *vsphere, const char *moref,
                                                            GCancellable *cancellable, GError **error);
void vmf_vsphere_machine_free (struct vmf_vsphere_machine *machine);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_vsphere_machine, vmf_vsphere_machine_free)

/* The state of a machine that is off, as lines of text: the same text is the same state of its disks. LIKE: an earlier
   one that this is to be compared with, of which all that it tells must be told now; NULL: what this user may not ask
   is left out. What a line begins with is its kind: power, disk, started, file, change, configuration. Caller frees. */
char *vmf_vsphere_read_state (struct vmf_vsphere *vsphere, const char *vm_moref, const char *like,
                              GCancellable *cancellable, GError **error);

struct vmf_vsphere_leftover
{
    char *vm_moref, *vm_name;
    struct vmf_vsphere_snapshot *snapshot;
};
/* Snapshots with our mark of the machines ROWS (vmf_vsphere_list), by one paged question. *N_UNREAD: machines that
   would not say. struct vmf_vsphere_leftover*; caller unrefs. */
GPtrArray *vmf_vsphere_find_leftovers (struct vmf_vsphere *vsphere, const GPtrArray *rows, unsigned *n_unread,
                                       GCancellable *cancellable, GError **error);

/* ---- changes to it; each waits for its task's end (by change notification), and for another task in progress ---- */

/* The snapshot's moref. Caller frees. *MAY_COME, where not NULL: how it ended is not known, so that the snapshot may
   appear yet. */
char *vmf_vsphere_create_snapshot (struct vmf_vsphere *vsphere, const char *vm_moref, const char *name,
                                   const char *description, bool quiesce, bool *may_come, GCancellable *cancellable,
                                   GError **error);
/* The disks as SNAPSHOT has them: paths and change ids from its own devices (PITFALLS 12). struct vmf_vsphere_disk*. */
GPtrArray *vmf_vsphere_snapshot_disks (struct vmf_vsphere *vsphere, const char *snapshot_moref,
                                       GCancellable *cancellable, GError **error);
/* Consolidates; also waits where the server says that disks still need it. One that is gone already is no error. */
bool vmf_vsphere_remove_snapshot (struct vmf_vsphere *vsphere, const char *vm_moref, const char *snapshot_moref,
                                  GCancellable *cancellable, GError **error);
bool vmf_vsphere_enable_change_tracking (struct vmf_vsphere *vsphere, const char *vm_moref, GCancellable *cancellable,
                                         GError **error);
/* Adds what changed between CHANGE_ID ("*": what is allocated) and SNAPSHOT to CHANGED, in windows; PITFALLS 6, 7. */
bool vmf_vsphere_query_changed (struct vmf_vsphere *vsphere, const char *vm_moref, const char *snapshot_moref,
                                int32_t device_key, const char *change_id, uint64_t capacity_bytes,
                                struct vmf_extents *changed, GCancellable *cancellable, GError **error);
/* Do two change ids belong to one history ("UUID/number")? PITFALLS 16. */
bool vmf_vsphere_same_history (const char *change_id, const char *other);
/* Guest shutdown first, where its tools run (*ASKED: it was asked, and may do it later, too); power off after
   TIMEOUT_MS or without them, if FORCE. */
bool vmf_vsphere_shut_down (struct vmf_vsphere *vsphere, const char *vm_moref, int64_t timeout_ms, bool force,
                            bool *asked, GCancellable *cancellable, GError **error);
bool vmf_vsphere_power_on (struct vmf_vsphere *vsphere, const char *vm_moref, GCancellable *cancellable,
                           GError **error);

/* ---- NFC export lease ---- */

struct vmf_vsphere_lease_file
{
    int32_t disk_key;                    /* the device's; 0: not a disk */
    char *url;                           /* "*" already replaced by the host */
    char *thumbprint;                    /* of the host that serves it, or NULL */
    uint64_t size_bytes, capacity_bytes; /* of the file, at most; of the disk; 0: not said */
};

typedef struct vmf_vsphere_lease vmf_vsphere_lease;
/* SNAPSHOT_MOREF NULL: of the VM itself, which must be off. Returns when the lease is ready; a thread keeps it alive
   and reports progress until it is ended. */
struct vmf_vsphere_lease *vmf_vsphere_export (struct vmf_vsphere *vsphere, const char *vm_moref,
                                              const char *snapshot_moref, GCancellable *cancellable, GError **error);
const GPtrArray *
vmf_vsphere_lease_get_files (const struct vmf_vsphere_lease *lease); /* struct vmf_vsphere_lease_file* */
void vmf_vsphere_lease_set_percent (struct vmf_vsphere_lease *lease, unsigned percent);
/* Asks the server: false once it has ended it, as it does with the session that it was taken in. */
bool vmf_vsphere_lease_lives (struct vmf_vsphere_lease *lease);
/* Completes it, or aborts it. */
void vmf_vsphere_lease_end (struct vmf_vsphere_lease *lease, bool complete);

/* ---- addresses ---- */

/* https://HOST:PORT/folder/DIR/NAME-flat.vmdk?dcPath=…&dsName=… of a "[datastore] dir/name.vmdk". Caller frees. */
char *vmf_vsphere_flat_url (const struct vmf_vsphere *vsphere, const char *datacenter, const char *path,
                            GError **error);

/* vpx://user@vcenter[:port]/DC[/folder…][/cluster]/host[?no_verify=1] and esx://user@host[:port]/[?no_verify=1],
   percent encoding undone (A2), as libvirt's ESX driver has them. */
struct vmf_vsphere_address
{
    bool is_vcenter;
    char *user, *host;
    uint16_t port;
    GStrv words; /* all path segments, decoded: vmf_vsphere_find_place() */
    bool no_verify;
    GHashTable *query; /* other key=value */
};
enum
{
    VMF_VSPHERE_PORT = 443,
};
uint16_t vmf_vsphere_address_port (const struct vmf_vsphere_address *address);
struct vmf_vsphere_address *vmf_vsphere_address_parse (const char *address, GError **error);
void vmf_vsphere_address_free (struct vmf_vsphere_address *address);
typedef struct vmf_vsphere_address vmf_vsphere_address; /* for g_autoptr only */
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_vsphere_address, vmf_vsphere_address_free)
