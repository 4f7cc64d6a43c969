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

static void
test_host_port (void)
{
    g_autofree char *name = vmf_text_host_port ("vc.example", 443), *six = vmf_text_host_port ("fe80::1", 8443);
    g_assert_cmpstr (name, ==, "vc.example:443");
    g_assert_cmpstr (six, ==, "[fe80::1]:8443");
}

static void
test_matches (void)
{
    g_assert_true (vmf_text_matches (NULL, NULL) && vmf_text_matches ("", "any"));
    g_assert_true (vmf_text_matches ("WEB-?", "web-1") && vmf_text_matches ("web*", "Web"));
    g_assert_true (vmf_text_matches ("a*[1]?", "A*[1]?")); /* a name itself is its own pattern */
    g_assert_false (vmf_text_matches ("web", "web1") || vmf_text_matches ("web?", "web")
                    || vmf_text_matches ("w", NULL));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/text/to-json", test_to_json);
    g_test_add_func ("/text/double-commas", test_double_commas);
    g_test_add_func ("/text/printable", test_printable);
    g_test_add_func ("/text/host-port", test_host_port);
    g_test_add_func ("/text/matches", test_matches);
    return g_test_run ();
}
