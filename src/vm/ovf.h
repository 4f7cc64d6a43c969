/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The OVF reader's own pieces: what read-ovf.c has found in the envelope, and the steps that read from it.
 *
 * Order: read-ovf.c fills struct ovf, then hardware (which calls disks), then the dialects, which add what OVF itself
 * cannot say. Each step gives false with the error set when the text is absurd; what is merely unknown is left out.
 */
#pragma once
#include "vm/vm.h"
#include "vm/xml.h"

struct ovf
{
    struct vmf_vm *vm;
    xmlNode *envelope;
    xmlNode *system;     /* VirtualSystem, or oVirt's Content */
    xmlNode *hardware;   /* VirtualHardwareSection */
    GHashTable *files;   /* File by ovf:id and by ovf:href */
    GHashTable *disks;   /* Disk by ovf:diskId and, oVirt, by ovf:fileRef */
    char *configuration; /* the default deployment option, or NULL */
    bool ovirt;          /* oVirt's dialect */
};

/* The section NAME, also where it is spelt <Section xsi:type="ovf:NAME_Type"> (OVF 0.9, oVirt). */
xmlNode *vmf_ovf_section (const xmlNode *parent, const char *name);

/* "byte * 2^30", "byte*1024*1024", "MegaBytes", "GB"; NULL is 1. false where it is none of these. */
bool vmf_ovf_unit (const char *text, uint64_t *bytes);

/* TEXT times UNIT, bounded by MAX. */
bool vmf_ovf_amount (const xmlNode *node, const char *text, const char *unit, const char *what, uint64_t max,
                     uint64_t *bytes, GError **error);

bool vmf_ovf_read_hardware (struct ovf *ovf, GError **error);

/* One rasd item that is a disk or a drive, with its controller filled in. */
bool vmf_ovf_read_disk (struct ovf *ovf, const xmlNode *item, struct vmf_disk *disk, GError **error);
/* Refuses hrefs that lead out by a scheme. */
bool vmf_ovf_check_files (struct ovf *ovf, GError **error);

void vmf_ovf_read_vbox (struct ovf *ovf);

bool vmf_ovirt_read_system (struct ovf *ovf, GError **error);
void vmf_ovirt_read_disk (const xmlNode *item, const xmlNode *disk_node, struct vmf_disk *disk);
void vmf_ovirt_read_nic (const xmlNode *item, struct vmf_nic *nic);
