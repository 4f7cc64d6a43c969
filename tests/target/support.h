/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the target tests share: a machine to import, what lies in a folder, and dying or failing at any step.
 *
 * The test programs are linked with --wrap=write and --wrap=fsync, through which the undo list and the targets put down
 * every step. faults.die_at = n kills the process at the nth of those calls: before the call's effect for a write,
 * after it for an fsync; so between any step and its line on either side. faults.fail_at makes the nth one fail
 * instead.
 */
#pragma once
#include "base/error.h"
#include "target/target.h"
#include <gio/gio.h>

struct faults
{
    unsigned calls, die_at, fail_at; /* 0: never */
    int fail_errno;
    unsigned hook_at; /* somebody else acts behind the nth call */
    void (*hook) (void *data);
    void *hook_data;
};
extern struct faults faults;

/* "web01", one NIC without a map, 64 MiB, 1 CPU. */
struct vmf_vm *sample_vm (void);

/* Names in FOLDER, hidden ones too, sorted and joined by a space. Caller frees. */
char *names_in (const char *folder);

/* A new folder below /tmp; goes with remove_tree(). Caller frees. */
char *new_folder (void);
void remove_tree (const char *path);

/* Standard output of a program that must succeed. Caller frees. */
char *output_of (const char *program, ...) G_GNUC_NULL_TERMINATED;

/* Puts BYTES at the start of the file. */
void write_start (const char *path, const char *bytes);

/* FINDINGS have one of KIND that contains all of the texts. */
void assert_finding (GPtrArray *findings, enum vmf_finding_kind kind, ...) G_GNUC_NULL_TERMINATED;
void assert_not_blocked (GPtrArray *findings);

/* Runs BODY in a child that is killed at call N; true: it was killed, false: it came to its end. */
bool dies_at (unsigned n, void (*body) (void *data), void *data);
