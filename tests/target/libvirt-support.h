/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the libvirt tests share: a real pool in a libvirtd of our own, asked by virsh, a program that is not ours.
 *
 * The test programs run inside tests/lab/libvirtd, which sets VMF_LAB_LIBVIRT_URI, or says why
 * there is none: then each test is skipped with that reason.
 */
#pragma once
#include "support.h"

struct lab
{
    const char *uri;
    char *folder, *work; /* of the pool "default"; of the import */
    struct vmf_vm *vm;   /* its NIC is mapped to the network "lab" */
    struct vmf_target_disk_wish wishes[2];
    bool replace;
    char *uuid; /* in the XML given to finish; NULL: libvirt makes one */
};

void lab_set_up (struct lab *lab, const void *data);
void lab_tear_down (struct lab *lab, const void *data);
void lab_add (const char *path, const void *data, void (*function) (struct lab *lab, const void *data));

struct vmf_target *lab_open (struct lab *lab);

/* A domain of type qemu with these disks, written by the test itself, not by the writer of src/vm. Caller frees. */
char *lab_domain_xml (const struct lab *lab, const char *name, const char *uuid, const char *mac,
                      const char *const *disks);
/* Has virsh define it. */
void lab_define (struct lab *lab, const char *name, const char *uuid, const char *mac, const char *const *disks);
/* The same with XML of its own for its devices. */
void lab_define_with (struct lab *lab, const char *name, const char *devices);
/* Has virsh make a raw volume of 1 MiB and gives its path. Caller frees. */
char *lab_volume (struct lab *lab, const char *name);

/* create, write, finish; on failure abort. */
bool lab_import (struct lab *lab, GError **error);

/* What virsh sees: names of all domains, a bar, names of all volumes in "default" after a refresh, a bar, names in the
   pool's folder, each sorted and joined by spaces. Caller frees. */
char *lab_state (struct lab *lab);
void lab_assert_state (struct lab *lab, const char *expected);

GPtrArray *lab_check (struct lab *lab);
