/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text to numbers and back. Parsing is g_ascii_*, so a locale's comma changes nothing. */
#include "base/text.h"
#include "base/error.h"

#include <math.h>
#include <string.h>

bool
vmf_text_to_uint64 (const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *value, GError **error)
{
    guint64 number;
    if (!text || !g_ascii_string_to_unsigned (text, 10, min, max, &number, NULL))
    {
        g_autofree char *shown = vmf_text_printable (text ? text : "", 40);
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "%s is '%s', not a whole number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, what, shown,
                     (guint64)min, (guint64)max);
        return false;
    }
    *value = number;
    return true;
}

/* The power of 1024 that a unit stands for, or -1. */
static int
unit_power (const char *unit)
{
    static const char letters[] = "KMGTPE";
    if (*unit == '\0' || g_ascii_strcasecmp (unit, "B") == 0)
        return 0;
    const char *letter = strchr (letters, g_ascii_toupper (*unit));
    if (!letter)
        return -1;
    const char *rest = unit + 1;
    if (*rest != '\0' && g_ascii_strcasecmp (rest, "B") != 0 && g_ascii_strcasecmp (rest, "iB") != 0)
        return -1;
    return (int)(letter - letters) + 1;
}

bool
vmf_text_to_size (const char *text, const char *what, uint64_t *bytes, GError **error)
{
    char *rest = NULL;
    double number = text && g_ascii_isdigit (*text) ? g_ascii_strtod (text, &rest) : -1;
    int power = rest ? unit_power (rest + strspn (rest, " ")) : -1;
    double value = power >= 0 ? ldexp (number, power * 10) : -1;
    if (!(value >= 0) || value >= ldexp (1, 63))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "%s '%s' is not a size; write it like 512M, 10G or 1.5T", what,
                     text ? text : "");
        return false;
    }
    *bytes = (uint64_t)value;
    return true;
}

char *
vmf_text_from_size (uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1023.95 && unit + 1 < G_N_ELEMENTS (units))
    {
        value /= 1024;
        unit++;
    }
    return unit == 0 ? g_strdup_printf ("%" G_GUINT64_FORMAT " B", (guint64)bytes)
                     : g_strdup_printf ("%.1f %s", value, units[unit]);
}

char *
vmf_text_from_duration (int64_t duration_us)
{
    int64_t seconds = duration_us / G_USEC_PER_SEC;
    if (seconds >= 3600)
        return g_strdup_printf ("%d:%02d:%02d", (int)(seconds / 3600), (int)(seconds / 60 % 60), (int)(seconds % 60));
    if (seconds >= 60)
        return g_strdup_printf ("%d:%02d", (int)(seconds / 60), (int)(seconds % 60));
    return g_strdup_printf ("%.1f s", (double)duration_us / G_USEC_PER_SEC);
}

char *
vmf_text_from_time (int64_t time_us)
{
    g_autoptr (GDateTime) whole = g_date_time_new_from_unix_utc (time_us / G_USEC_PER_SEC);
    g_autofree char *seconds = g_date_time_format (whole, "%Y-%m-%dT%H:%M:%S");
    return g_strdup_printf ("%s.%03dZ", seconds, (int)(time_us % G_USEC_PER_SEC / 1000));
}

char *
vmf_text_printable (const char *text, size_t max_chars)
{
    g_autofree char *valid = g_utf8_make_valid (text, -1);
    GString *out = g_string_new (NULL);
    size_t count = 0;
    for (const char *at = valid; *at; at = g_utf8_next_char (at), count++)
    {
        if (count == max_chars)
        {
            g_string_append (out, "...");
            break;
        }
        gunichar c = g_utf8_get_char (at);
        g_string_append_unichar (out, g_unichar_isprint (c) ? c : '?');
    }
    return g_string_free (out, FALSE);
}

json_t *
vmf_text_to_json (const char *text)
{
    g_autofree char *valid = text ? g_utf8_make_valid (text, -1) : NULL;
    return valid ? json_string (valid) : json_null ();
}

char *
vmf_text_double_commas (const char *text)
{
    g_auto (GStrv) parts = g_strsplit (text, ",", -1);
    return g_strjoinv (",,", parts);
}

char *
vmf_text_host_port (const char *host, unsigned port)
{
    return g_strdup_printf (strchr (host, ':') ? "[%s]:%u" : "%s:%u", host, port);
}

bool
vmf_text_matches (const char *pattern, const char *text)
{
    if (!pattern || !*pattern)
        return true;
    g_autofree char *folded_pattern = g_utf8_casefold (pattern, -1), *folded = g_utf8_casefold (text ? text : "", -1);
    return g_pattern_match_simple (folded_pattern, folded);
}
