/* SPDX-License-Identifier: GPL-2.0-or-later */
/* OVF's units: the programmatic units of DMTF DSP0004 annex C, as far as bytes go, and the older plain words.
 *
 * "byte * 2^30" is the standard's way, "byte*1024*1024" and "MegaBytes" occur; all of them are powers of 1024, the
 * words too, whatever SI says.
 */
#include "base/error.h"
#include "base/text.h"
#include "vm/ovf.h"

#include <string.h>

static const struct
{
    const char *word;
    unsigned shift;
} words[] = {
    { "byte", 0 },       { "bytes", 0 },      { "b", 0 },          { "kb", 10 },        { "kib", 10 },
    { "kilobyte", 10 },  { "mb", 20 },        { "mib", 20 },       { "megabyte", 20 },  { "gb", 30 },
    { "gib", 30 },       { "gigabyte", 30 },  { "tb", 40 },        { "tib", 40 },       { "terabyte", 40 },
    { "kilobytes", 10 }, { "megabytes", 20 }, { "gigabytes", 30 }, { "terabytes", 40 },
};

/* "1024" or "2^30". */
static bool
read_factor (const char *text, uint64_t *factor)
{
    g_auto (GStrv) parts = g_strsplit (text, "^", 3);
    uint64_t base, exponent = 1;
    if (!parts[0] || !vmf_text_to_uint64 (parts[0], "factor", 1, G_MAXUINT32, &base, NULL))
        return false;
    if (parts[1] && (parts[2] || !vmf_text_to_uint64 (parts[1], "exponent", 0, 63, &exponent, NULL)))
        return false;
    *factor = 1;
    while (exponent-- > 0)
        if (__builtin_mul_overflow (*factor, base, factor))
            return false;
    return true;
}

bool
vmf_ovf_unit (const char *text, uint64_t *bytes)
{
    *bytes = 1;
    if (!text)
        return true;
    g_autofree char *lower = g_ascii_strdown (text, -1);
    g_auto (GStrv) parts = g_strsplit (lower, "*", -1);
    bool known = false;
    for (size_t i = 0; parts[0] && i < G_N_ELEMENTS (words); i++)
        if (strcmp (g_strstrip (parts[0]), words[i].word) == 0)
        {
            *bytes = UINT64_C (1) << words[i].shift;
            known = true;
        }
    for (char **part = parts; known && *part && *++part;)
    {
        uint64_t factor;
        g_auto (GStrv) tokens = g_strsplit_set (*part, " \t", -1);
        g_autofree char *joined = g_strjoinv (NULL, tokens);
        if (!read_factor (joined, &factor) || __builtin_mul_overflow (*bytes, factor, bytes))
            return false;
    }
    return known;
}

bool
vmf_ovf_amount (const xmlNode *node, const char *text, const char *unit, const char *what, uint64_t max,
                uint64_t *bytes, GError **error)
{
    uint64_t factor = 1, amount = 0;
    if (!vmf_ovf_unit (unit, &factor))
    {
        g_autofree char *shown = vmf_text_printable (unit, 60);
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "line %ld: the unit '%s' of the %s is not known",
                     xmlGetLineNo (node), shown, what);
        return false;
    }
    if (!vmf_xml_number (node, text, what, UINT64_MAX, &amount, error))
        return false;
    if (__builtin_mul_overflow (amount, factor, bytes) || *bytes > max)
    {
        g_autofree char *most = vmf_text_from_size (max);
        g_autofree char *shown = vmf_text_printable (text, 40);
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                     "line %ld: the %s of %s %s is more than the %s that are believed", xmlGetLineNo (node), what,
                     shown, unit ? unit : "byte", most);
        return false;
    }
    return true;
}
