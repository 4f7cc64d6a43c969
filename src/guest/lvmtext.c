/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A recursive-descent parser for: key { … }   key = value   key = [ value, value ]   # comment */
#include "guest/lvmtext.h"

#include <string.h>

enum
{
    DEPTH_MAX = 12,
};

struct parser
{
    const char *at;
    unsigned depth;
};

static struct vmf_lvmtext *
node_new (char *key)
{
    struct vmf_lvmtext *node = g_new0 (struct vmf_lvmtext, 1);
    node->key = key;
    return node;
}

void
vmf_lvmtext_free (struct vmf_lvmtext *node)
{
    if (!node)
        return;
    g_clear_pointer (&node->children, g_ptr_array_unref);
    g_free (node->key);
    g_free (node->string);
    g_free (node);
}

static void
free_child (gpointer node)
{
    vmf_lvmtext_free (node);
}

static void
skip_space (struct parser *parser)
{
    while (g_ascii_isspace (*parser->at) || *parser->at == '#')
        parser->at += *parser->at == '#' ? strcspn (parser->at, "\n") : 1;
}

static bool
take (struct parser *parser, char c)
{
    skip_space (parser);
    if (*parser->at != c)
        return false;
    parser->at++;
    return true;
}

static char *
parse_key (struct parser *parser)
{
    skip_space (parser);
    size_t length = 0;
    while (g_ascii_isalnum (parser->at[length]) || (parser->at[length] && strchr ("_-+./", parser->at[length])))
        length++;
    if (length == 0 || length > 256)
        return NULL;
    char *key = g_strndup (parser->at, length);
    parser->at += length;
    return key;
}

/* A string with \" and \\ undone. */
static char *
parse_string (struct parser *parser)
{
    g_autoptr (GString) text = g_string_new (NULL);
    while (*parser->at && *parser->at != '"')
    {
        if (*parser->at == '\\' && (parser->at[1] == '"' || parser->at[1] == '\\'))
            parser->at++;
        g_string_append_c (text, *parser->at++);
    }
    if (*parser->at != '"')
        return NULL;
    parser->at++;
    return g_string_free (g_steal_pointer (&text), FALSE);
}

static bool
parse_scalar (struct parser *parser, struct vmf_lvmtext *node)
{
    if (take (parser, '"'))
        return (node->string = parse_string (parser)) != NULL;
    char *end;
    if (!g_ascii_isdigit (*parser->at))
        return false;
    node->number = g_ascii_strtoull (parser->at, &end, 10);
    parser->at = end;
    return *end != '.' && !g_ascii_isalpha (*end);
}

static bool
parse_value (struct parser *parser, struct vmf_lvmtext *node)
{
    if (!take (parser, '['))
        return parse_scalar (parser, node);
    node->children = g_ptr_array_new_with_free_func (free_child);
    while (!take (parser, ']'))
    {
        if (node->children->len > 0 && !take (parser, ','))
            return false;
        struct vmf_lvmtext *item = node_new (NULL);
        g_ptr_array_add (node->children, item);
        if (!parse_scalar (parser, item))
            return false;
    }
    return true;
}

/* Members of SECTION up to its closing brace, or the text's end at the top. */
static bool
parse_members (struct parser *parser, struct vmf_lvmtext *section)
{
    section->is_section = true;
    section->children = g_ptr_array_new_with_free_func (free_child);
    for (skip_space (parser); *parser->at && *parser->at != '}'; skip_space (parser))
    {
        char *key = parse_key (parser);
        if (!key)
            return false;
        struct vmf_lvmtext *node = node_new (key);
        g_ptr_array_add (section->children, node);
        if (take (parser, '='))
        {
            if (!parse_value (parser, node))
                return false;
            continue;
        }
        if (!take (parser, '{') || ++parser->depth > DEPTH_MAX || !parse_members (parser, node) || !take (parser, '}'))
            return false;
        parser->depth--;
    }
    return true;
}

struct vmf_lvmtext *
vmf_lvmtext_parse (const char *text)
{
    struct parser parser = { text, 0 };
    g_autoptr (vmf_lvmtext) root = node_new (NULL);
    if (!parse_members (&parser, root) || *parser.at)
        return NULL;
    return g_steal_pointer (&root);
}

const struct vmf_lvmtext *
vmf_lvmtext_get (const struct vmf_lvmtext *node, const char *key)
{
    for (guint i = 0; node && node->is_section && i < node->children->len; i++)
    {
        const struct vmf_lvmtext *child = g_ptr_array_index (node->children, i);
        if (strcmp (child->key, key) == 0)
            return child;
    }
    return NULL;
}

bool
vmf_lvmtext_get_number (const struct vmf_lvmtext *node, const char *key, uint64_t max, uint64_t *value)
{
    const struct vmf_lvmtext *child = vmf_lvmtext_get (node, key);
    if (!child || child->children || child->string || child->number > max)
        return false;
    *value = child->number;
    return true;
}

const char *
vmf_lvmtext_get_string (const struct vmf_lvmtext *node, const char *key)
{
    const struct vmf_lvmtext *child = vmf_lvmtext_get (node, key);
    return child ? child->string : NULL;
}

bool
vmf_lvmtext_has (const struct vmf_lvmtext *node, const char *key, const char *word)
{
    const struct vmf_lvmtext *list = vmf_lvmtext_get (node, key);
    for (guint i = 0; list && list->children && i < list->children->len; i++)
    {
        const struct vmf_lvmtext *item = g_ptr_array_index (list->children, i);
        if (g_strcmp0 (item->string, word) == 0)
            return true;
    }
    return false;
}
