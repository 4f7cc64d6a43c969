/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: a JSON object a line each way; what has no "return" or "error" is an event. */
#include "disk/qmp.h"
#include "base/error.h"

#include <errno.h>
#include <gio/gunixsocketaddress.h>
#include <string.h>

enum
{
    CONNECT_TRIES = 500,
    CONNECT_PAUSE_US = 20 * 1000,
    ANSWER_TIMEOUT_S = 300, /* a daemon that is busy with a slow disk may take its time; for ever it may not */
};

struct vmf_qmp
{
    GSocketConnection *connection;
    GDataInputStream *lines; /* reads the connection's stream; ours */
};

void
vmf_qmp_free (struct vmf_qmp *qmp)
{
    if (!qmp)
        return;
    g_clear_object (&qmp->lines);
    g_clear_object (&qmp->connection);
    g_free (qmp);
}

static GSocketConnection *
dial (const char *socket_path, GCancellable *cancellable, GError **error)
{
    g_autoptr (GSocketClient) client = g_socket_client_new ();
    g_autoptr (GSocketAddress) address = g_unix_socket_address_new (socket_path);
    g_socket_client_set_timeout (client, ANSWER_TIMEOUT_S);
    for (int tries = 0;; tries++)
    {
        g_autoptr (GError) local = NULL;
        GSocketConnection *connection = g_socket_client_connect (client, G_SOCKET_CONNECTABLE (address), NULL, &local);
        if (connection)
            return connection;
        if (vmf_error_if_cancelled (cancellable, error))
            return NULL;
        if (tries == CONNECT_TRIES)
        {
            g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "qemu-storage-daemon does not answer on %s: %s",
                         socket_path, local->message);
            return NULL;
        }
        g_usleep (CONNECT_PAUSE_US);
    }
}

/* The next object that is an answer, or the greeting. New reference. */
static json_t *
read_answer (struct vmf_qmp *qmp, GError **error)
{
    for (;;)
    {
        g_autoptr (GError) local = NULL;
        g_autofree char *line = g_data_input_stream_read_line (qmp->lines, NULL, NULL, &local);
        if (!line)
        {
            g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "qemu-storage-daemon went away: %s",
                         local ? local->message : "it closed its monitor");
            return NULL;
        }
        json_error_t problem;
        json_t *object = json_loads (line, 0, &problem);
        if (json_object_get (object, "return") || json_object_get (object, "error") || json_object_get (object, "QMP"))
            return object;
        json_decref (object);
    }
}

struct vmf_qmp *
vmf_qmp_connect (const char *socket_path, GCancellable *cancellable, GError **error)
{
    g_autoptr (vmf_qmp) qmp = g_new0 (struct vmf_qmp, 1);
    qmp->connection = dial (socket_path, cancellable, error);
    if (!qmp->connection)
        return NULL;
    qmp->lines = g_data_input_stream_new (g_io_stream_get_input_stream (G_IO_STREAM (qmp->connection)));
    json_t *greeting = read_answer (qmp, error);
    json_t *ready = greeting ? vmf_qmp_run (qmp, "qmp_capabilities", NULL, error) : NULL;
    json_decref (greeting);
    json_decref (ready);
    return ready ? g_steal_pointer (&qmp) : NULL;
}

json_t *
vmf_qmp_run (struct vmf_qmp *qmp, const char *command, json_t *arguments, GError **error)
{
    json_t *request = json_pack ("{s:s, s:o*}", "execute", command, "arguments", arguments);
    g_autofree char *text = json_dumps (request, JSON_COMPACT);
    g_autofree char *line = g_strconcat (text, "\n", NULL);
    json_decref (request);
    GOutputStream *out = g_io_stream_get_output_stream (G_IO_STREAM (qmp->connection));
    g_autoptr (GError) local = NULL;
    if (!g_output_stream_write_all (out, line, strlen (line), NULL, NULL, &local))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "qemu-storage-daemon went away: %s", local->message);
        return NULL;
    }
    json_t *answer = read_answer (qmp, error);
    json_t *result = json_incref (json_object_get (answer, "return"));
    if (answer && !result)
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "qemu-storage-daemon refused %s: %s", command,
                     json_string_value (json_object_get (json_object_get (answer, "error"), "desc")));
    json_decref (answer);
    return result;
}
