/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The neutral description as JSON (against docs/vm.schema.json) and as text. */
#include "data.h"
#include "vm/write.h"

#include <string.h>

static const char *const names[] = {
    "vmware-efi-secure-tpm.ovf", "vmware-vcloud-ide-sas.ovf", "ovirt-export.ovf", "esx8-efi.vmx", "xen-pv.xml",
    "libvirt-q35-efi.xml"
};

/* The schema's way of naming types, for the few that it uses. */
static bool
type_fits (const char *type, const json_t *value)
{
    return (strcmp (type, "string") == 0 && json_is_string (value))
           || (strcmp (type, "null") == 0 && json_is_null (value))
           || (strcmp (type, "integer") == 0 && json_is_integer (value))
           || (strcmp (type, "boolean") == 0 && json_is_boolean (value))
           || (strcmp (type, "object") == 0 && json_is_object (value))
           || (strcmp (type, "array") == 0 && json_is_array (value));
}

static const json_t *
resolve (const json_t *root, const json_t *schema)
{
    const char *ref = json_string_value (json_object_get (schema, "$ref"));
    return ref ? json_object_get (json_object_get (root, "$defs"), strrchr (ref, '/') + 1) : schema;
}

static void
check (const json_t *root, const json_t *schema, const json_t *value, const char *where)
{
    schema = resolve (root, schema);
    const json_t *type = json_object_get (schema, "type"), *words = json_object_get (schema, "enum");
    bool fits = !type || (json_is_string (type) && type_fits (json_string_value (type), value));
    for (size_t i = 0; type && i < json_array_size (type); i++)
        fits = fits || type_fits (json_string_value (json_array_get (type, i)), value);
    bool among = !words;
    for (size_t i = 0; i < json_array_size (words); i++)
        among = among || json_equal (json_array_get (words, i), value);
    if (!fits || !among)
        g_error ("%s does not fit the schema", where);
    const json_t *members = json_object_get (schema, "properties"), *items = json_object_get (schema, "items");
    const char *key;
    const json_t *member;
    void *object = (void *)members;
    json_object_foreach (object, key, member) if (json_is_object (value))
    {
        if (!json_object_get (value, key))
            g_error ("%s lacks %s", where, key);
        check (root, member, json_object_get (value, key), key);
    }
    if (json_is_object (value))
        g_assert_cmpuint (json_object_size (value), ==, json_object_size (members));
    for (size_t i = 0; items && i < json_array_size (value); i++)
        check (root, items, json_array_get (value, i), where);
}

/* Every member is in the schema and every member of the schema is there. */
static void
test_schema (void)
{
    g_autofree char *path = g_test_build_filename (G_TEST_DIST, "..", "docs", "vm.schema.json", NULL);
    json_error_t error;
    json_t *schema = json_load_file (path, 0, &error);
    if (!schema)
        g_error ("%s: %s", path, error.text);
    for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
    {
        g_autoptr (vmf_vm) vm = read_vm (names[i]);
        json_t *json = vmf_vm_write_json (vm);
        check (schema, schema, json, names[i]);
        json_decref (json);
    }
    json_decref (schema);
}

static void
test_json_values (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("vmware-efi-secure-tpm.ovf");
    json_t *json = vmf_vm_write_json (vm);
    json_t *disk = json_array_get (json_object_get (json, "disks"), 0);
    g_assert_cmpstr (json_string_value (json_object_get (json, "firmware")), ==, "uefi");
    g_assert_true (json_is_true (json_object_get (json, "secure_boot")));
    g_assert_true (json_is_null (json_object_get (json, "uuid")));
    g_assert_cmpint (json_integer_value (json_object_get (json, "memory_bytes")), ==, INT64_C (8192) << 20);
    g_assert_cmpint (json_integer_value (json_object_get (disk, "capacity_bytes")), ==, INT64_C (42949672960));
    g_assert_cmpstr (json_string_value (json_object_get (json_object_get (disk, "place"), "path")), ==,
                     "gm-ubuntu-test-1.vmdk");
    json_decref (json);
    struct vmf_vm empty = { .name = (char *)"bad \xff utf-8" };
    json_t *small = vmf_vm_write_json (&empty);
    g_assert_true (json_is_string (json_object_get (small, "name")));
    json_decref (small);
}

static void
test_text (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("vmware-efi-secure-tpm.ovf");
    g_autofree char *text = vmf_vm_write_text (vm);
    g_assert_true (g_str_has_prefix (text, "gm-ubuntu-test\n"));
    g_assert_nonnull (strstr (text, "UEFI, Secure Boot, TPM"));
    g_assert_nonnull (strstr (text, "sda "));
    g_assert_nonnull (strstr (text, "40.0 GiB"));
    g_assert_nonnull (strstr (text, "Ubuntu Linux (64-bit) (ubuntu64Guest)"));
}

/* A terminal must not obey a source. */
static void
test_text_is_harmless (void)
{
    struct vmf_vm vm = { .name = (char *)"x\033]0;owned\007\033[2J", .os_name = (char *)"a\nb\xff" };
    g_autofree char *text = vmf_vm_write_text (&vm);
    g_assert_null (strchr (text, '\033'));
    g_assert_null (strchr (text, '\007'));
    g_assert_null (strstr (text, "a\nb"));
    g_assert_true (g_utf8_validate (text, -1, NULL));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/vm/json/schema", test_schema);
    g_test_add_func ("/vm/json/values", test_json_values);
    g_test_add_func ("/vm/text/lines", test_text);
    g_test_add_func ("/vm/text/control-characters-are-harmless", test_text_is_harmless);
    return g_test_run ();
}
