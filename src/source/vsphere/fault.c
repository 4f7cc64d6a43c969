/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Faults of the vSphere API, as a table of types. */
#include "source/vsphere/fault.h"
#include "base/error.h"
#include "base/text.h"
#include "source/vsphere/answer.h"
#include "vm/xml.h"

#include <string.h>

#define SHOWN_MAX_CHARS 300

/* `field` is an element of the fault that the sentence is about. */
static const struct
{
    const char *type;
    enum vmf_fault fault;
    enum vmf_error code;
    const char *field;
    const char *says;
} faults[] = {
    { "InvalidLogin", VMF_FAULT_INVALID_LOGIN, VMF_ERROR_AUTH, NULL, "the user name or the password is wrong" },
    { "NotAuthenticated", VMF_FAULT_NOT_AUTHENTICATED, VMF_ERROR_AUTH, NULL, "the server knows of no login" },
    { "NoPermission", VMF_FAULT_NO_PERMISSION, VMF_ERROR_AUTH, NULL, NULL },
    { "RestrictedByAdministrator", VMF_FAULT_NO_PERMISSION, VMF_ERROR_AUTH, NULL,
      "the server's administrator has blocked that" },
    { "ManagedObjectNotFound", VMF_FAULT_NOT_FOUND, VMF_ERROR_NOT_FOUND, "obj", "it is not there, or not any more" },
    { "NotFound", VMF_FAULT_NOT_FOUND, VMF_ERROR_NOT_FOUND, NULL, "it was not found" },
    { "InvalidPowerState", VMF_FAULT_POWER_STATE, VMF_ERROR_FAILED, NULL, NULL },
    { "InvalidState", VMF_FAULT_POWER_STATE, VMF_ERROR_FAILED, NULL, "its state does not allow that now" },
    { "TaskInProgress", VMF_FAULT_TASK_IN_PROGRESS, VMF_ERROR_FAILED, "task", "another task is in progress" },
    { "HostNotConnected", VMF_FAULT_HOST_AWAY, VMF_ERROR_FAILED, NULL,
      "its ESXi host is not connected to the vCenter; connect it again there, or use the host's own address" },
    { "HostNotReachable", VMF_FAULT_HOST_AWAY, VMF_ERROR_FAILED, NULL,
      "the vCenter cannot reach its ESXi host: is it up, and is the network between them?" },
    { "HostCommunication", VMF_FAULT_HOST_AWAY, VMF_ERROR_FAILED, NULL,
      "the vCenter cannot talk with its ESXi host; the host's management agents may need a restart" },
    { "DisallowedOperationOnFailoverHost", VMF_FAULT_OTHER, VMF_ERROR_FAILED, NULL, "its host is a failover host" },
    { "LicenseRestricted", VMF_FAULT_LICENCE, VMF_ERROR_FAILED, NULL, NULL },
    { "RestrictedVersion", VMF_FAULT_LICENCE, VMF_ERROR_FAILED, NULL, NULL },
    { "NotEnoughLicenses", VMF_FAULT_LICENCE, VMF_ERROR_FAILED, NULL, NULL },
    { "LicenseExpired", VMF_FAULT_LICENCE, VMF_ERROR_FAILED, NULL, NULL },
    { "FileLocked", VMF_FAULT_FILE, VMF_ERROR_FAILED, "file",
      "a file is in use by somebody else: a backup, a running VM or another import" },
    { "FileNotFound", VMF_FAULT_FILE, VMF_ERROR_NOT_FOUND, "file", "a file is missing" },
    { "CannotAccessFile", VMF_FAULT_FILE, VMF_ERROR_FAILED, "file", "a file cannot be read" },
    { "FileFault", VMF_FAULT_FILE, VMF_ERROR_FAILED, "file", "something is wrong with a file" },
    { "NoDiskSpace", VMF_FAULT_FILE, VMF_ERROR_NO_SPACE, "datastore", "a datastore is full" },
    { "DatastoreNotWritableOnHost", VMF_FAULT_FILE, VMF_ERROR_FAILED, "datastore", "a datastore cannot be written" },
    { "InaccessibleDatastore", VMF_FAULT_FILE, VMF_ERROR_FAILED, "datastore", "a datastore cannot be reached" },
    { "SnapshotFault", VMF_FAULT_SNAPSHOT, VMF_ERROR_FAILED, NULL, "the snapshot failed" },
    { "SnapshotDisabled", VMF_FAULT_SNAPSHOT, VMF_ERROR_FAILED, NULL, "snapshots are disabled for it" },
    { "SnapshotLocked", VMF_FAULT_SNAPSHOT, VMF_ERROR_FAILED, NULL, "its snapshots are locked" },
    { "SnapshotIncompatibleDeviceInVm", VMF_FAULT_SNAPSHOT, VMF_ERROR_FAILED, NULL,
      "it has a device that allows no snapshot: a shared or physical-mode disk, or a passed-through device" },
    { "TooManySnapshotLevels", VMF_FAULT_SNAPSHOT, VMF_ERROR_FAILED, NULL,
      "it has as many snapshots as are allowed; remove some" },
    { "ApplicationQuiesceFault", VMF_FAULT_SNAPSHOT, VMF_ERROR_FAILED, NULL,
      "the guest's applications could not be quiesced; VMware Tools or VSS in the guest say why" },
    { "FilesystemQuiesceFault", VMF_FAULT_SNAPSHOT, VMF_ERROR_FAILED, NULL,
      "the guest's file systems could not be quiesced; VMware Tools in the guest say why" },
    { "ToolsUnavailable", VMF_FAULT_TOOLS, VMF_ERROR_FAILED, NULL, "VMware Tools do not run in the guest" },
    { "NotSupported", VMF_FAULT_NOT_SUPPORTED, VMF_ERROR_FAILED, NULL, "the server does not support that for it" },
    { "MethodNotFound", VMF_FAULT_NOT_SUPPORTED, VMF_ERROR_FAILED, "method", "the server does not know that call" },
    { "InvalidCollectorVersion", VMF_FAULT_VERSION, VMF_ERROR_FAILED, NULL,
      "the server has forgotten what it told before" },
    { "DuplicateName", VMF_FAULT_OTHER, VMF_ERROR_EXISTS, "name", "the name is taken" },
    { "InsufficientResourcesFault", VMF_FAULT_OTHER, VMF_ERROR_FAILED, NULL, "the host lacks resources for that" },
    { "RequestCanceled", VMF_FAULT_OTHER, VMF_ERROR_FAILED, NULL, "somebody cancelled the task at the server" },
    { "Timedout", VMF_FAULT_OTHER, VMF_ERROR_FAILED, NULL, "it took longer than the server allows" },
    { "InvalidArgument", VMF_FAULT_OTHER, VMF_ERROR_FAILED, "invalidProperty", "the server refuses an argument" },
    { "SystemError", VMF_FAULT_OTHER, VMF_ERROR_FAILED, "reason", "the server failed" },
};

char *
vmf_fault_type (const xmlNode *fault)
{
    const char *type = vmf_node_type (fault);
    if (*type)
        return g_strdup (type);
    const char *name = fault ? (const char *)fault->name : "";
    /* <InvalidLoginFault/> says its type by its name, with "Fault" behind. */
    size_t length = strlen (name);
    return g_strndup (name, length > 5 && g_str_has_suffix (name, "Fault") ? length - 5 : length);
}

xmlNode *
vmf_fault_detail (const xmlNode *soap_fault)
{
    xmlNode *detail = vmf_xml_child (soap_fault, "detail");
    if (!detail)
        detail = vmf_xml_child (soap_fault, "Detail");
    return vmf_xml_child (detail, NULL);
}

static void
append_field (GString *sentence, const xmlNode *fault, const char *field)
{
    g_autofree char *value = field ? vmf_xml_find_text (fault, field) : NULL;
    if (!value)
        return;
    g_autofree char *shown = vmf_text_printable (value, SHOWN_MAX_CHARS);
    g_string_append_printf (sentence, " (%s)", shown);
}

static void
append_no_permission (GString *sentence, const xmlNode *fault, const struct vmf_fault_place *place)
{
    g_autofree char *privilege = vmf_xml_find_text (fault, "privilegeId"),
                    *object = vmf_xml_find_text (fault, "object");
    g_autofree char *shown = vmf_text_printable (privilege ? privilege : "for that", 100);
    g_autofree char *on = vmf_text_printable (object ? object : "", 100);
    const char *type = vmf_node_moref_type (vmf_xml_child (fault, "object"));
    g_autofree char *kind = vmf_text_printable (type, 40);
    g_string_append_printf (sentence, "the user %s lacks the privilege %s", place->user, shown);
    if (object)
        g_string_append_printf (sentence, " on %s %s", kind, on);
    g_string_append (sentence, "; the server's administrator can give it a role that has it");
}

static void
append_power_state (GString *sentence, const xmlNode *fault)
{
    g_autofree char *is = vmf_xml_find_text (fault, "existingState"),
                    *wanted = vmf_xml_find_text (fault, "requestedState");
    g_autofree char *is_shown = vmf_text_printable (is ? is : "another state", 40);
    g_autofree char *wanted_shown = vmf_text_printable (wanted ? wanted : "", 40);
    g_string_append_printf (sentence, "that cannot be done while it is %s", is_shown);
    if (wanted)
        g_string_append_printf (sentence, ", only while it is %s", wanted_shown);
}

static void
append_sentence (GString *sentence, size_t i, const xmlNode *fault, const struct vmf_fault_place *place)
{
    if (faults[i].says)
    {
        g_string_append (sentence, faults[i].says);
        append_field (sentence, fault, faults[i].field);
        if (faults[i].fault == VMF_FAULT_INVALID_LOGIN)
            g_string_append_printf (sentence, " (user %s)", place->user);
    }
    else if (faults[i].fault == VMF_FAULT_NO_PERMISSION)
        append_no_permission (sentence, fault, place);
    else if (faults[i].fault == VMF_FAULT_POWER_STATE)
        append_power_state (sentence, fault);
    else
        g_string_append_printf (
            sentence,
            "the server's licence does not allow that (%s): the free licence of ESXi, for one, lets "
            "nobody change anything by its API. Use another road (ssh), or a licence that does",
            faults[i].type);
}

enum vmf_fault
vmf_fault_set_error (const xmlNode *fault, const char *message, const struct vmf_fault_place *place, GError **error)
{
    g_autofree char *type = vmf_fault_type (fault);
    g_autofree char *own = message ? NULL : vmf_xml_find_text (fault, "faultMessage/message");
    g_autofree char *words = vmf_text_printable (message ? message : own ? own : "no message", SHOWN_MAX_CHARS);
    g_autoptr (GString) sentence = g_string_new (NULL);
    size_t i = 0;
    while (i < G_N_ELEMENTS (faults) && strcmp (faults[i].type, type) != 0)
        i++;
    bool known = i < G_N_ELEMENTS (faults);
    if (known)
        append_sentence (sentence, i, fault, place);
    else
    {
        g_autofree char *shown = vmf_text_printable (*type ? type : "a fault without a type", 80);
        g_string_append_printf (sentence, "%s: %s", shown, words);
    }
    bool more = known && message && faults[i].code == VMF_ERROR_FAILED;
    g_set_error (error, VMF_ERROR, known ? faults[i].code : VMF_ERROR_FAILED, "%s: %s: %s%s%s%s", place->server,
                 place->what, sentence->str, more ? " [" : "", more ? words : "", more ? "]" : "");
    return known ? faults[i].fault : VMF_FAULT_OTHER;
}

enum vmf_fault
vmf_fault_set_soap_error (const xmlNode *soap_fault, const struct vmf_fault_place *place, GError **error)
{
    g_autofree char *message = vmf_xml_find_text (soap_fault, "faultstring");
    return vmf_fault_set_error (vmf_fault_detail (soap_fault), message, place, error);
}
