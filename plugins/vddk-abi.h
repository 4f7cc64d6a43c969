/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What we use of VDDK's binary interface: libvixDiskLib.so.6 to .9, 64-bit Linux.
 *
 * Names and layouts are those of VMware's "Virtual Disk API" reference, written down anew: VMware's headers are neither
 * needed nor shipped. Everything counts in sectors of 512 bytes. Rules of the library that the callers keep:
 *
 *   InitEx once, after the last fork → threads are made → ConnectEx → Open → GetInfo → reads → Wait → Close →
 *   Disconnect → (again ConnectEx …) → Exit
 *
 * Open and Close never at the same time, all IO calls of a handle by one thread, completions on threads of the library.
 */
#pragma once
#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

enum
{
    VDDK_SECTOR = 512,
    VDDK_CHUNK_SECTORS = 128,     /* the smallest unit of QueryAllocatedBlocks */
    VDDK_CHUNKS_MAX = 512 * 1024, /* of one call */
    VDDK_MAJOR = 6,               /* the interface that is asked for: known to every library from 6.5 on */
    VDDK_MINOR = 5,
};

enum
{
    VDDK_OPEN_UNBUFFERED = 1,
    VDDK_OPEN_SINGLE_LINK = 2,
    VDDK_OPEN_READ_ONLY = 4,
    VDDK_OPEN_ZLIB = 16,
    VDDK_OPEN_FASTLZ = 32,
    VDDK_OPEN_SKIPZ = 64,
};

/* The lower 16 bits of what functions return. */
enum
{
    VDDK_OK = 0,
    VDDK_E_FAIL = 1,
    VDDK_E_OUT_OF_MEMORY = 2,
    VDDK_E_INVALID_ARGUMENT = 3,
    VDDK_E_FILE_NOT_FOUND = 4,
    VDDK_E_FILE_ACCESS = 13,
    VDDK_E_HOST_PERMISSIONS = 3014,
    VDDK_E_TOO_MANY_LOGONS = 3046,
    VDDK_E_AUTHENTICATION = 3047,
    VDDK_E_HOST_NOT_FOUND = 14008,
    VDDK_E_CONNECTION_REFUSED = 14009,
    VDDK_E_CONNECTION_LOST = 14011,
    VDDK_E_OUT_OF_RANGE = 16007,
    VDDK_E_TOO_MANY_OPEN_FILES = 16027,
    VDDK_E_NO_LICENSE = 16064,
    VDDK_E_CANNOT_CONNECT = 18000,
    VDDK_ASYNC = 25000, /* not an error: the callback will come */
    VDDK_CODE_MASK = 0xffff,
};

enum
{
    VDDK_CREDENTIALS_USER = 1,
    VDDK_CREDENTIALS_COOKIE = 2,
};

struct vddk_connect_params
{
    char *vmx_spec; /* "moref=vm-21" */
    char *server;
    char *thumbprint;
    long private_use;
    int credentials_type;
    union
    {
        struct
        {
            char *user, *password;
        } user;
        struct
        {
            char *cookie, *user, *key;
        } session;
    } credentials;
    uint32_t port, nfc_port;
    char *api_version;
    char reserved[8];
    void *state;
    char *object_spec[3];
    int spec_type; /* 0: the VM's */
};
static_assert (sizeof (struct vddk_connect_params) == 128 && offsetof (struct vddk_connect_params, port) == 64
                   && offsetof (struct vddk_connect_params, spec_type) == 120,
               "VixDiskLibConnectParams");

struct vddk_info
{
    uint32_t bios_geometry[3], physical_geometry[3];
    uint64_t capacity_sectors;
    int adapter_type, link_count;
    char *parent_hint, *uuid;
};
static_assert (offsetof (struct vddk_info, capacity_sectors) == 24, "VixDiskLibInfo");

struct vddk_block
{
    uint64_t offset, length;
};

struct vddk_block_list
{
    uint32_t count;
    struct vddk_block blocks[];
};
static_assert (offsetof (struct vddk_block_list, blocks) == 8, "VixDiskLibBlockList");

typedef uint64_t vddk_code;
typedef void *vddk_connection;
typedef void *vddk_handle;
typedef void (*vddk_log_fn) (const char *format, va_list args);
typedef void (*vddk_done_fn) (void *data, vddk_code result);

/* The functions by their names in the library, without "VixDiskLib_". NULL: this library does not have it; the last
   five only, the first of them in 6.0 to 6.7. */
struct vddk_api
{
    vddk_code (*InitEx) (uint32_t major, uint32_t minor, vddk_log_fn log, vddk_log_fn warn, vddk_log_fn panic,
                         const char *library_root, const char *config_file);
    void (*Exit) (void);
    char *(*GetErrorText) (vddk_code code, const char *locale);
    void (*FreeErrorText) (char *text);
    vddk_code (*ConnectEx) (const struct vddk_connect_params *params, char read_only, const char *snapshot,
                            const char *transports, vddk_connection *connection);
    vddk_code (*Disconnect) (vddk_connection connection);
    vddk_code (*Open) (vddk_connection connection, const char *path, uint32_t flags, vddk_handle *handle);
    vddk_code (*Close) (vddk_handle handle);
    vddk_code (*GetInfo) (vddk_handle handle, struct vddk_info **info);
    void (*FreeInfo) (struct vddk_info *info);
    const char *(*GetTransportMode) (vddk_handle handle);
    const char *(*ListTransportModes) (void);
    vddk_code (*Read) (vddk_handle handle, uint64_t sector, uint64_t count, uint8_t *bytes);
    void (*FreeConnectParams) (struct vddk_connect_params *params);
    struct vddk_connect_params *(*AllocateConnectParams) (void);
    vddk_code (*ReadAsync) (vddk_handle handle, uint64_t sector, uint64_t count, uint8_t *bytes, vddk_done_fn done,
                            void *data);
    vddk_code (*Wait) (vddk_handle handle);
    vddk_code (*QueryAllocatedBlocks) (vddk_handle handle, uint64_t sector, uint64_t count, uint64_t chunk_sectors,
                                       struct vddk_block_list **blocks);
    vddk_code (*FreeBlockList) (struct vddk_block_list *blocks);
};
