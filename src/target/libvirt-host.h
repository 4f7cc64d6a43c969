/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside src/target/ only: a libvirt connection, and what its host has, as plain structs.
 *
 * libvirt's own handles are held only where something is done with them. Everything here may block on libvirtd. Main
 * thread only.
 */
#pragma once
#include "target/targets.h"
#include "target/undo.h"
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC (virDomain, virDomainFree)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (virNetwork, virNetworkFree)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (virStoragePool, virStoragePoolFree)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (virStorageVol, virStorageVolFree)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (virConnect, virConnectClose)

struct vmf_libvirt
{
    struct vmf_target base;
    virConnect *connection;
    char *pool, *work_dir;
    bool replace;
    vmf_undo *undo;   /* from create on */
    GPtrArray *pools; /* char*: where volumes were created, refreshed at finish */
    bool adopted;     /* an import that was killed goes on: its domain may stand already */
    char *first_path; /* of the first disk: by it our domain is known again */
    int claims[2];    /* claim.h: of the name and the UUID, from create or adopt on; -1: none */
};

/* The name of VM's claim N (claim.h) on HOST: 0 is for its name, 1 for its UUID; NULL where it has none yet. *WHAT gets
   what is claimed, for messages. Caller frees both. */
char *vmf_libvirt_claim_name (const struct vmf_libvirt *host, const struct vmf_vm *vm, unsigned n, char **what);

/* libvirt's last error, behind WHAT ("cannot look up pool 'x'"); its codes as ours. Always false. */
bool vmf_libvirt_fail (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);

/* Only hypervisors of this host: qemu:///system, qemu:///session, qemu+unix:///… */
virConnect *vmf_libvirt_connect (const char *uri, GError **error);

/* The text of every node that EXPRESSION finds in XML; empty where XML is broken. */
GStrv vmf_libvirt_xpath (const char *xml, const char *expression);
char *vmf_libvirt_xpath_first (const char *xml, const char *expression); /* or NULL */

/* The paths of what SOURCES, an expression for <source> elements, finds in XML; volumes named by pool are looked up. */
GStrv vmf_libvirt_source_paths (virConnect *connection, const char *xml, const char *sources);

/* The backing files of all volumes in running pools. */
GStrv vmf_libvirt_backing_files (virConnect *connection);

/* Undefines a domain, of which the firmware's variables and the TPM's keys stay. */
bool vmf_libvirt_undefine (virDomain *domain);

/* One domain of the host, running or not. */
struct vmf_libvirt_domain
{
    char *name, *uuid;
    GStrv macs;  /* lower case */
    GStrv disks; /* paths of all files and devices it uses */
    bool active;
};
/* struct vmf_libvirt_domain*, freed with the array. */
GPtrArray *vmf_libvirt_domains (virConnect *connection, GError **error);

/* A storage pool that can take disks. */
struct vmf_libvirt_pool
{
    virStoragePool *handle;
    char *name, *type, *path;
    bool block; /* volumes are block devices (LVM): raw only, not fresh */
    bool autostart;
    uint64_t available_bytes;
};
typedef struct vmf_libvirt_pool vmf_libvirt_pool;
/* NOT_FOUND (says what pools there are), MISSING (not running), USAGE (a type that takes no disks). */
struct vmf_libvirt_pool *vmf_libvirt_pool_open (virConnect *connection, const char *name, GError **error);
void vmf_libvirt_pool_free (struct vmf_libvirt_pool *pool);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_libvirt_pool, vmf_libvirt_pool_free)
/* Whether POOL has a volume NAME, or its directory a file of that name. */
bool vmf_libvirt_pool_has (const struct vmf_libvirt_pool *pool, const char *name);

/* Names of all networks or pools, sorted, as "a, b, c" or "none". Caller frees. */
char *vmf_libvirt_network_names (virConnect *connection);
char *vmf_libvirt_pool_names (virConnect *connection);
bool vmf_libvirt_has_network (virConnect *connection, const char *name, bool *active);

/* The preflight (libvirt-check.c). */
bool vmf_libvirt_check (struct vmf_libvirt *host, const struct vmf_vm *vm, const struct vmf_target_disk_wish *wishes,
                        unsigned n_disks, GPtrArray *findings, GError **error);
/* Only the clashes of name, UUID, MACs; also before the domain is defined. */
bool vmf_libvirt_check_clashes (struct vmf_libvirt *host, const struct vmf_vm *vm, GPtrArray *findings, GError **error);
void vmf_libvirt_check_machine (virConnect *connection, const struct vmf_vm *vm, GPtrArray *findings);

/* What --replace replaces (libvirt-replace.c): why the domain NAME cannot be, or notes on what stays. */
void vmf_libvirt_replace_check (virConnect *connection, const char *name, GPtrArray *findings);
/* Makes room for the domain that XML describes: lists the old one and its volumes, undefines it where its UUID is
   another. No domain of that name: nothing to do, true. */
bool vmf_libvirt_replace (struct vmf_libvirt *host, const char *name, const char *xml, GError **error);
