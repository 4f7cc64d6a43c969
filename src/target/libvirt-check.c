/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The libvirt target's preflight (B10, B11): what would clash or be missing, found before a byte moves. */
#include "base/error.h"
#include "base/text.h"
#include "target/claim.h"
#include "target/libvirt-host.h"

#include <string.h>
#include <unistd.h>

static const struct vmf_libvirt_domain *
domain_by_name (GPtrArray *domains, const char *name)
{
    for (guint i = 0; i < domains->len; i++)
    {
        const struct vmf_libvirt_domain *domain = g_ptr_array_index (domains, i);
        if (strcmp (domain->name, name) == 0)
            return domain;
    }
    return NULL;
}

static char *
free_name (GPtrArray *domains, const char *name)
{
    for (unsigned n = 2;; n++)
    {
        g_autofree char *candidate = g_strdup_printf ("%s-%u", name, n);
        if (!domain_by_name (domains, candidate))
            return g_steal_pointer (&candidate);
    }
}

static void
check_name (struct vmf_libvirt *host, GPtrArray *domains, const struct vmf_vm *vm, GPtrArray *findings)
{
    if (!domain_by_name (domains, vm->name))
        return;
    g_autofree char *other = free_name (domains, vm->name);
    if (host->replace)
        vmf_libvirt_replace_check (host->connection, vm->name, findings);
    else
        vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                          "a domain '%s' is there already on %s; import under another name (--name %s is free), or "
                          "replace it with --replace",
                          vm->name, host->base.address, other);
}

/* The domain that is replaced is no clash for its successor. */
static bool
is_replaced (const struct vmf_libvirt *host, const struct vmf_libvirt_domain *domain, const struct vmf_vm *vm)
{
    return host->replace && strcmp (domain->name, vm->name) == 0;
}

static void
check_uuid (struct vmf_libvirt *host, GPtrArray *domains, const struct vmf_vm *vm, GPtrArray *findings)
{
    for (guint i = 0; vm->uuid && i < domains->len; i++)
    {
        const struct vmf_libvirt_domain *domain = g_ptr_array_index (domains, i);
        if (g_ascii_strcasecmp (domain->uuid, vm->uuid) != 0 || is_replaced (host, domain, vm))
            continue;
        vmf_findings_add (
            findings, VMF_FINDING_BLOCKING,
            "the UUID %s is already that of domain '%s'; give the new machine another one with --uuid new", vm->uuid,
            domain->name);
    }
}

/* Who has MAC: a domain's name, or NULL. */
static const char *
mac_user (struct vmf_libvirt *host, GPtrArray *domains, const struct vmf_vm *vm, const char *mac)
{
    g_autofree char *lower = g_ascii_strdown (mac, -1);
    for (guint i = 0; i < domains->len; i++)
    {
        const struct vmf_libvirt_domain *domain = g_ptr_array_index (domains, i);
        if (!is_replaced (host, domain, vm) && g_strv_contains ((const char *const *)domain->macs, lower))
            return domain->name;
    }
    return NULL;
}

/* In QEMU's own range, used by no domain here. */
static char *
free_mac (struct vmf_libvirt *host, GPtrArray *domains, const struct vmf_vm *vm)
{
    for (;;)
    {
        guint32 random = g_random_int ();
        g_autofree char *mac =
            g_strdup_printf ("52:54:00:%02x:%02x:%02x", random & 0xff, random >> 8 & 0xff, random >> 16 & 0xff);
        if (!mac_user (host, domains, vm, mac))
            return g_steal_pointer (&mac);
    }
}

static void
check_macs (struct vmf_libvirt *host, GPtrArray *domains, const struct vmf_vm *vm, GPtrArray *findings)
{
    g_autoptr (GHashTable) seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < vm->nics->len; i++)
    {
        const struct vmf_nic *nic = g_ptr_array_index (vm->nics, i);
        if (!nic->mac || nic->keep_out)
            continue;
        const char *user = mac_user (host, domains, vm, nic->mac);
        bool twice = !g_hash_table_add (seen, g_ascii_strdown (nic->mac, -1));
        if (!user && !twice)
            continue;
        g_autofree char *other = free_mac (host, domains, vm);
        g_autofree char *owner =
            user ? g_strdup_printf ("domain '%s'", user) : g_strdup ("another NIC of this machine");
        vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                          "the MAC %s of NIC %u (%s) is already used by %s; give the NIC another one: --mac %u=%s is "
                          "free",
                          nic->mac, i + 1, nic->id ? nic->id : "unnamed", owner, i + 1, other);
    }
}

char *
vmf_libvirt_claim_name (const struct vmf_libvirt *host, const struct vmf_vm *vm, unsigned n, char **what)
{
    /* Two ways to write the same hypervisor of this host. */
    const char *address = host->base.address, *plus = g_str_has_prefix (address, "qemu+unix:") ? "qemu+unix:" : "qemu:";
    const char *rest = g_str_has_prefix (address, plus) ? address + strlen (plus) : address;
    g_autofree char *uuid = vm->uuid ? g_ascii_strdown (vm->uuid, -1) : NULL;
    if (n > 0 && !uuid)
        return NULL;
    *what = n > 0 ? g_strdup_printf ("a domain with the UUID %s", uuid) : g_strdup_printf ("a domain '%s'", vm->name);
    return g_strdup_printf ("%s %s %s", rest, n > 0 ? "uuid" : "name", n > 0 ? uuid : vm->name);
}

static void
check_claims (const struct vmf_libvirt *host, const struct vmf_vm *vm, GPtrArray *findings)
{
    for (unsigned i = 0; i < G_N_ELEMENTS (host->claims); i++)
    {
        g_autofree char *what = NULL, *name = vmf_libvirt_claim_name (host, vm, i, &what);
        g_autofree char *held = name ? vmf_claim_holder (name, what) : NULL;
        if (held)
            vmf_findings_add (findings, VMF_FINDING_BLOCKING, "%s", held);
    }
}

bool
vmf_libvirt_check_clashes (struct vmf_libvirt *host, const struct vmf_vm *vm, GPtrArray *findings, GError **error)
{
    g_autoptr (GPtrArray) domains = vmf_libvirt_domains (host->connection, error);
    if (!domains)
        return false;
    check_name (host, domains, vm, findings);
    check_uuid (host, domains, vm, findings);
    check_macs (host, domains, vm, findings);
    return true;
}

/* "NIC 1 (ethernet0, network 'VM Network' of the source)" */
static char *
nic_name (const struct vmf_nic *nic, unsigned number)
{
    return g_strdup_printf ("NIC %u (%s, network '%s' of the source)", number, nic->id ? nic->id : "unnamed",
                            nic->network ? nic->network : "");
}

/* STOPPED collects the networks that were warned of. */
static void
check_nic (struct vmf_libvirt *host, const struct vmf_nic *nic, unsigned number, GHashTable *stopped,
           GPtrArray *findings)
{
    bool active = true, ovs = g_strcmp0 (nic->virtual_port, "openvswitch") == 0;
    g_autofree char *name = nic_name (nic, number);
    g_autofree char *names = vmf_libvirt_network_names (host->connection);
    g_autofree char *remedy = g_strdup_printf (
        "networks there are: %s. Say --network %u=NAME, --network %u=bridge:NAME, or --network %u=none to leave it out",
        names, number, number, number);
    if (!nic->map_network && !nic->map_bridge)
        vmf_findings_add (findings, VMF_FINDING_BLOCKING, "%s is not mapped to anything on the target; %s", name,
                          remedy);
    else if (nic->map_bridge && !vmf_bridge_exists (nic->map_bridge, ovs))
        vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                          "%s is mapped to bridge '%s', which this host does not have; %s", name, nic->map_bridge,
                          remedy);
    else if (nic->map_network && !vmf_libvirt_has_network (host->connection, nic->map_network, &active))
        vmf_findings_add (findings, VMF_FINDING_BLOCKING, "%s is mapped to network '%s', which is not on %s; %s", name,
                          nic->map_network, host->base.address, remedy);
    else if (!active && g_hash_table_add (stopped, nic->map_network))
        vmf_findings_add (findings, VMF_FINDING_WARNING,
                          "network '%s' is not running, and the domain will not start before it is: virsh net-start "
                          "'%s'",
                          nic->map_network, nic->map_network);
}

/* The pool of one disk, and the disk's name in it. */
static void
check_disk (struct vmf_libvirt *host, const struct vmf_libvirt_pool *pool, const char *name,
            const struct vmf_target_disk_wish *wish, GPtrArray *findings)
{
    if (pool->block && strcmp (wish->format, "raw") != 0)
        vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                          "pool '%s' holds block devices, which take raw disks only; choose --disk-format raw",
                          pool->name);
    if (geteuid () != 0 && access (pool->path, W_OK) != 0)
        vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                          "volumes of pool '%s' belong to root, and vmferry writes them itself: run it as root, or "
                          "import to qemu:///session",
                          pool->name);
    if (!host->replace && vmf_libvirt_pool_has (pool, name))
        vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                          "pool '%s' has a volume %s already; import under another name with --name, delete the volume "
                          "(virsh vol-delete %s '%s'), or say --replace",
                          pool->name, name, name, pool->name);
}

static void
check_storage (struct vmf_libvirt *host, const struct vmf_vm *vm, const struct vmf_target_disk_wish *wishes,
               unsigned n_disks, GPtrArray *findings)
{
    g_autoptr (vmf_space) space = vmf_space_new ();
    g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);
    for (unsigned i = 0; i < n_disks; i++)
    {
        const char *pool_name = wishes[i].pool ? wishes[i].pool : host->pool;
        bool first = g_hash_table_add (seen, (void *)pool_name);
        g_autoptr (GError) failed = NULL;
        g_autoptr (vmf_libvirt_pool) pool = vmf_libvirt_pool_open (host->connection, pool_name, &failed);
        if (!pool && first)
            vmf_findings_add (findings, VMF_FINDING_BLOCKING, "%s", failed->message);
        if (!pool)
            continue;
        if (first && !pool->autostart)
            vmf_findings_add (findings, VMF_FINDING_WARNING,
                              "pool '%s' does not start with the host, so the domain may not either: virsh "
                              "pool-autostart '%s'",
                              pool_name, pool_name);
        g_autofree char *name = vmf_target_disk_name (vm->name, i, wishes[i].format);
        g_autofree char *shown = g_strdup_printf ("pool '%s'", pool_name);
        check_disk (host, pool, name, &wishes[i], findings);
        vmf_space_need (space, shown, pool->block ? NULL : pool->path, pool->available_bytes, &wishes[i]);
    }
    vmf_space_report (space, findings);
}

bool
vmf_libvirt_check (struct vmf_libvirt *host, const struct vmf_vm *vm, const struct vmf_target_disk_wish *wishes,
                   unsigned n_disks, GPtrArray *findings, GError **error)
{
    g_autofree char *problem = vmf_target_name_problem (vm->name);
    if (problem)
    {
        vmf_findings_add (findings, VMF_FINDING_BLOCKING, "%s", problem);
        return true; /* nothing further can be asked about such a name */
    }
    if (!vmf_libvirt_check_clashes (host, vm, findings, error))
        return false;
    check_claims (host, vm, findings);
    g_autoptr (GHashTable) stopped = g_hash_table_new (g_str_hash, g_str_equal);
    for (guint i = 0; i < vm->nics->len; i++)
    {
        const struct vmf_nic *nic = g_ptr_array_index (vm->nics, i);
        if (!nic->keep_out)
            check_nic (host, nic, i + 1, stopped, findings);
    }
    check_storage (host, vm, wishes, n_disks, findings);
    vmf_target_check_arch (vm, findings);
    vmf_libvirt_check_machine (host->connection, vm, findings);
    return true;
}
