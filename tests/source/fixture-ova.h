/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small OVAs made in a test: an OVF with one disk, its manifest, and the archives around them. */
#pragma once
#include "fixture.h"

/* A description in FOLDER/NAME with one disk of CAPACITY bytes in HREF; FILE_EXTRA: more attributes of <File>. */
static inline void
fixture_ovf (const char *folder, const char *name, const char *href, const char *file_extra, uint64_t capacity)
{
    g_autofree char *path = g_build_filename (folder, name, NULL);
    g_autofree char *text = g_strdup_printf (
        "<?xml version=\"1.0\"?>\n"
        "<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" "
        "xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\" "
        "xmlns:rasd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData\" "
        "xmlns:vssd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData\">\n"
        "<References><File ovf:href=\"%s\" ovf:id=\"file1\" %s/></References>\n"
        "<DiskSection><Info>d</Info><Disk ovf:capacity=\"%" G_GUINT64_FORMAT "\" ovf:diskId=\"vmdisk1\" "
        "ovf:fileRef=\"file1\" "
        "ovf:format=\"http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized\"/>"
        "</DiskSection>\n"
        "<VirtualSystem ovf:id=\"web01\"><Info>m</Info><Name>web01</Name>\n"
        "<VirtualHardwareSection><Info>h</Info>\n"
        "<Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>"
        "<rasd:VirtualQuantity>1</rasd:VirtualQuantity></Item>\n"
        "<Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID>"
        "<rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>256</rasd:VirtualQuantity></Item>\n"
        "<Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>lsilogic</rasd:ResourceSubType>"
        "<rasd:ResourceType>6</rasd:ResourceType></Item>\n"
        "<Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource>"
        "<rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType>"
        "</Item></VirtualHardwareSection></VirtualSystem></Envelope>\n",
        href, file_extra, (guint64)capacity);
    g_assert_true (g_file_set_contents (path, text, -1, NULL));
}

/* "SHA256(name)= digest" for FILE in FOLDER, as NAME. Caller frees. */
static inline char *
fixture_digest (const char *folder, const char *file, const char *name, GChecksumType type, const char *word)
{
    g_autofree char *path = g_build_filename (folder, file, NULL), *bytes = NULL;
    gsize length;
    g_assert_true (g_file_get_contents (path, &bytes, &length, NULL));
    g_autofree char *digest = g_compute_checksum_for_data (type, (const guchar *)bytes, length);
    return g_strdup_printf ("%s(%s)= %s\n", word, name, digest);
}
