/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What can be tested of a lease without a server. Pure functions. */
#pragma once
#include "source/vsphere/internal.h"

/* The files of an HttpNfcLeaseInfo element (struct vmf_vsphere_lease_file*), with the disks of the machine's or
   snapshot's CONFIG (may be NULL) that they are. AUTHORITY ("esx1:8443") goes where a URL says "*". */
GPtrArray *vmf_lease_files_read (const xmlNode *info, const xmlNode *config, const char *authority);
