/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text that others wrote, on its way to a terminal, into JSON and among QEMU's options. */
#include "base/text.h"

#include <string.h>

static void
test_to_json (void)
{
    static const char latin1[] = "caf\xe9.vmdk";
    json_t *object = json_pack ("{s:o, s:o, s:o}", "path", vmf_text_to_json (latin1), "none", vmf_text_to_json (NULL),
                                "plain", vmf_text_to_json ("é"));
    g_assert_nonnull (object); /* with the bytes as they are there would be none */
    g_assert_cmpstr (json_string_value (json_object_get (object, "path")), ==, "caf\xef\xbf\xbd.vmdk");
    g_assert_true (json_is_null (json_object_get (object, "none")));
    g_assert_cmpstr (json_string_value (json_object_get (object, "plain")), ==, "é");
    json_decref (object);
}

static void
test_double_commas (void)
{
    static const char *const cases[][2] = { { "a", "a" }, { "", "" }, { ",", ",," }, { "a,b,,c", "a,,b,,,,c" } };
    for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    {
        g_autofree char *doubled = vmf_text_double_commas (cases[i][0]);
        g_assert_cmpstr (doubled, ==, cases[i][1]);
    }
}

static void
test_printable (void)
{
    g_autofree char *shown = vmf_text_printable ("web\033[2J\r\xff€", 100), *cut = vmf_text_printable ("abcdef", 3);
    g_assert_null (strpbrk (shown, "\033\r\xff"));
    g_assert_nonnull (strstr (shown, "€"));
    g_assert_cmpstr (cut, ==, "abc...");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/text/to-json", test_to_json);
    g_test_add_func ("/text/double-commas", test_double_commas);
    g_test_add_func ("/text/printable", test_printable);
    return g_test_run ();
}
