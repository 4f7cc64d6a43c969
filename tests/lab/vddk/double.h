/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The double's configuration, what holds across processes (sessions, NFC memory), and its log of calls. Any thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Added to double_memory()'s argument: count it, however much there is. */
#define DOUBLE_MEMORY_UNCHECKED (INT64_C (1) << 40)

/* Reads the configuration. First of all. */
void double_start (void);

/* A rule of the library was broken: says so and aborts. */
void double_broken (const char *format, ...) __attribute__ ((format (printf, 1, 2), noreturn));

/* A call of function NAME (without VixDiskLib_): counted, and written to `log` in order (reads once in a row). */
void double_count (const char *name);
void double_write_counts (void);
void double_say_flags (uint32_t flags);

const char *double_text (const char *key); /* NULL: not set */
uint64_t double_number (const char *key, uint64_t otherwise);

/* KEY N: true at the call number N, and at no other; KEY N- : from there on; KEY -N : up to there. */
bool double_trips (const char *key);

bool double_find_disk (const char *vm, const char *snapshot, const char *path, char *file, size_t size);

/* One of `sessions-max` in `state`; -1: all taken. */
int double_take_session (void);
void double_give_session (int session);

/* Of `nfc-bytes` in `state`. False: there are not as many. */
bool double_memory (int64_t bytes);

/* When a read of LENGTH bytes that begins now ends, by `read-ms` and `mb-per-s`. */
int64_t double_due_ns (int64_t now_ns, uint64_t length);
