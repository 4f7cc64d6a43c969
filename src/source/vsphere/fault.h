/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Faults of the vSphere API: their type decides what is said and what a caller may decide on; their words are only
 * shown. Pure functions; any thread.
 */
#pragma once
#include <gio/gio.h>
#include <libxml/tree.h>

/* Those on which this folder decides; all others are VMF_FAULT_OTHER. */
enum vmf_fault
{
    VMF_FAULT_NONE,
    VMF_FAULT_OTHER,
    VMF_FAULT_NOT_AUTHENTICATED,
    VMF_FAULT_INVALID_LOGIN,
    VMF_FAULT_NO_PERMISSION,
    VMF_FAULT_NOT_FOUND,
    VMF_FAULT_POWER_STATE,
    VMF_FAULT_TASK_IN_PROGRESS,
    VMF_FAULT_HOST_AWAY,
    VMF_FAULT_LICENCE,
    VMF_FAULT_FILE,
    VMF_FAULT_SNAPSHOT,
    VMF_FAULT_TOOLS,
    VMF_FAULT_NOT_SUPPORTED,
    VMF_FAULT_NO_END,  /* no answer of the server's: it may have heard what was asked, and may do it yet */
    VMF_FAULT_VERSION, /* of a property collector: the server remembers it no more */
};

/* What is known of who asked and whom, for the sentence. */
struct vmf_fault_place
{
    const char *server; /* "vc.example:443" */
    const char *user;
    const char *what; /* "taking a snapshot of vm-12" */
};

/* FAULT is the element whose xsi:type is the fault's type, or NULL; MESSAGE the server's own words, or NULL. */
enum vmf_fault vmf_fault_set_error (const xmlNode *fault, const char *message, const struct vmf_fault_place *place,
                                    GError **error);
/* The same for a SOAP <Fault>. */
enum vmf_fault vmf_fault_set_soap_error (const xmlNode *soap_fault, const struct vmf_fault_place *place,
                                         GError **error);
/* The type alone: from xsi:type, or from the element's name where that says it. Caller frees. */
char *vmf_fault_type (const xmlNode *fault);
/* The one element with the fault's type within a SOAP <Fault>, or NULL. */
xmlNode *vmf_fault_detail (const xmlNode *soap_fault);
