/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs a fuzz target without libFuzzer: every file whose name ends in SUFFIX, then mutations of them from a fixed
 * seed.
 *
 *   fuzz-ovf ROUNDS SUFFIX FILE|FOLDER…
 *
 * Bounded and repeatable, so that it belongs to the fast suite; `FUZZ_SEED` chooses another seed. An input that crashes
 * is left in the file `crash-input` of the current folder when FUZZ_KEEP is set.
 */
#include "fuzz.h"

#include <stdlib.h>

static GPtrArray *inputs; /* GBytes* */

static int
compare_names (gconstpointer left, gconstpointer right)
{
    return strcmp (*(const char *const *)left, *(const char *const *)right);
}

static void
add_input (const char *path, const char *suffix)
{
    if (g_file_test (path, G_FILE_TEST_IS_DIR))
    {
        g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
        g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
        for (const char *name = dir ? g_dir_read_name (dir) : NULL; name; name = g_dir_read_name (dir))
            g_ptr_array_add (names, g_build_filename (path, name, NULL));
        /* A folder's own order differs from host to host; the seed alone shall decide. */
        g_ptr_array_sort (names, compare_names);
        for (unsigned i = 0; i < names->len; i++)
            add_input (names->pdata[i], suffix);
        return;
    }
    char *text = NULL;
    size_t length = 0;
    if (!g_str_has_suffix (path, suffix))
        return;
    if (g_file_get_contents (path, &text, &length, NULL))
        g_ptr_array_add (inputs, g_bytes_new_take (text, length));
}

static void
cut (GRand *rand, GByteArray *bytes)
{
    guint at = (guint)g_rand_int_range (rand, 0, (gint32)bytes->len);
    guint count = (guint)g_rand_int_range (rand, 1, 200);
    g_byte_array_remove_range (bytes, at, MIN (count, bytes->len - at));
}

/* A piece of the same or of another input, somewhere. */
static void
splice (GRand *rand, GByteArray *bytes)
{
    gsize length;
    const guint8 *other = g_bytes_get_data (inputs->pdata[g_rand_int_range (rand, 0, (gint32)inputs->len)], &length);
    if (length == 0)
        return;
    gsize from = (gsize)g_rand_int_range (rand, 0, (gint32)length);
    gsize count = (gsize)g_rand_int_range (rand, 1, 2000);
    count = MIN (count, length - from);
    guint at = (guint)g_rand_int_range (rand, 0, (gint32)bytes->len);
    g_autoptr (GByteArray) tail = g_byte_array_new ();
    g_byte_array_append (tail, bytes->data + at, bytes->len - at);
    g_byte_array_set_size (bytes, at);
    g_byte_array_append (bytes, other + from, (guint)count);
    g_byte_array_append (bytes, tail->data, tail->len);
}

/* Numbers are where readers go wrong. */
static void
change_number (GRand *rand, GByteArray *bytes)
{
    static const char *const numbers[] = {
        "-1", "0", "4097", "65536", "4294967296", "18446744073709551615", "99999999999999999999", "1e9", "0x10", ""
    };
    guint at = (guint)g_rand_int_range (rand, 0, (gint32)bytes->len), end;
    while (at < bytes->len && !g_ascii_isdigit (bytes->data[at]))
        at++;
    for (end = at; end < bytes->len && g_ascii_isdigit (bytes->data[end]); end++)
        ;
    const char *number = numbers[g_rand_int_range (rand, 0, G_N_ELEMENTS (numbers))];
    g_autoptr (GByteArray) tail = g_byte_array_new ();
    g_byte_array_append (tail, bytes->data + end, bytes->len - end);
    g_byte_array_set_size (bytes, at);
    g_byte_array_append (bytes, (const guint8 *)number, (guint)strlen (number));
    g_byte_array_append (bytes, tail->data, tail->len);
}

static void
mutate (GRand *rand, GByteArray *bytes)
{
    for (int steps = g_rand_int_range (rand, 1, 6); steps > 0 && bytes->len > 0; steps--)
        switch (g_rand_int_range (rand, 0, 5))
        {
        case 0:
            bytes->data[g_rand_int_range (rand, 0, (gint32)bytes->len)] = (guint8)g_rand_int_range (rand, 0, 256);
            break;
        case 1:
            cut (rand, bytes);
            break;
        case 2:
            splice (rand, bytes);
            break;
        default:
            change_number (rand, bytes);
        }
}

static void
run (const GByteArray *bytes)
{
    /* A block of its exact size: reading one byte too far is seen by the sanitizer. */
    g_autofree guint8 *copy = g_memdup2 (bytes->data, bytes->len);
    if (g_getenv ("FUZZ_KEEP"))
        g_file_set_contents ("crash-input", (const char *)copy, bytes->len, NULL);
    LLVMFuzzerTestOneInput (copy, bytes->len);
}

int
main (int argc, char **argv)
{
    inputs = g_ptr_array_new_with_free_func ((GDestroyNotify)g_bytes_unref);
    for (int i = 3; i < argc; i++)
        add_input (argv[i], argv[2]);
    if (argc < 4 || inputs->len == 0)
    {
        g_printerr ("usage: %s ROUNDS SUFFIX FILE|FOLDER...\n", argv[0]);
        return 2;
    }
    const char *seed = g_getenv ("FUZZ_SEED");
    GRand *rand = g_rand_new_with_seed (seed ? (guint32)strtoul (seed, NULL, 10) : 20240607);
    unsigned long rounds = strtoul (argv[1], NULL, 10);
    for (unsigned long i = 0; i < inputs->len + rounds; i++)
    {
        guint pick = i < inputs->len ? (guint)i : (guint)g_rand_int_range (rand, 0, (gint32)inputs->len);
        g_autoptr (GByteArray) bytes = g_byte_array_new ();
        gsize length;
        const guint8 *data = g_bytes_get_data (inputs->pdata[pick], &length);
        g_byte_array_append (bytes, data, (guint)length);
        if (i >= inputs->len)
            mutate (rand, bytes);
        run (bytes);
    }
    g_rand_free (rand);
    g_ptr_array_unref (inputs);
    return 0;
}
