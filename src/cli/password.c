/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The password of a source: from a file, or typed. Never from the command line or the environment, which others see. */
#include "base/error.h"
#include "cli/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum
{
    PASSWORD_MAX_BYTES = 1024,
};

char *vmf_cli_password_file;

static char password[PASSWORD_MAX_BYTES + 1]; /* as long as the program */

/* Ctrl-C is taken by a thread of its own (common.c), so a read would not end by it. */
static bool
wait_for_input (int fd, GError **error)
{
    GPollFD cancel = { -1, G_IO_IN, 0 };
    bool has_cancel = g_cancellable_make_pollfd (vmf_cli_cancellable (), &cancel);
    struct pollfd fds[] = { { fd, POLLIN, 0 }, { has_cancel ? cancel.fd : -1, POLLIN, 0 } };
    while (poll (fds, G_N_ELEMENTS (fds), -1) < 0 && errno == EINTR)
        ;
    if (has_cancel)
        g_cancellable_release_fd (vmf_cli_cancellable ());
    return !vmf_error_if_cancelled (vmf_cli_cancellable (), error);
}

/* One line from FD, without its end. */
static bool
read_line (int fd, const char *from, GError **error)
{
    size_t length = 0;
    ssize_t n = 1;
    while (length < PASSWORD_MAX_BYTES)
    {
        if (!wait_for_input (fd, error))
            return false;
        if ((n = read (fd, password + length, 1)) != 1 || password[length] == '\n')
            break;
        length++;
    }
    if (length > 0 && password[length - 1] == '\r')
        length--;
    password[length] = '\0';
    if (n >= 0 && length > 0 && length < PASSWORD_MAX_BYTES)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "there is no password in %s: its first line is to be one%s%s", from,
                 n < 0 ? ": " : "", n < 0 ? g_strerror (errno) : "");
    return false;
}

static bool
from_file (const char *path, GError **error)
{
    int fd = open (path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "cannot open the password file %s: %s", path,
                     g_strerror (errno));
        return false;
    }
    bool good = read_line (fd, path, error);
    close (fd);
    return good;
}

static bool
from_terminal (int fd, const char *address, GError **error)
{
    struct termios before, silent;
    bool tty = tcgetattr (fd, &before) == 0;
    silent = before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    dprintf (fd, "Password for %s: ", address);
    if (tty)
        tcsetattr (fd, TCSAFLUSH, &silent);
    bool good = read_line (fd, "what was typed", error);
    if (tty)
        tcsetattr (fd, TCSAFLUSH, &before);
    dprintf (fd, "\n");
    return good;
}

bool
vmf_cli_ask_password (const char *address, bool wanted, const char **result, GError **error)
{
    int terminal = -1;
    bool good = true;
    *result = *password ? password : NULL;
    if (*result)
        return true;
    if (vmf_cli_password_file)
        good = from_file (vmf_cli_password_file, error);
    else if (!wanted)
        return true;
    else if ((terminal = open ("/dev/tty", O_RDWR | O_CLOEXEC)) >= 0)
        good = from_terminal (terminal, address, error);
    else
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "a password is wanted, and there is no terminal to ask on; give --password-file FILE");
        good = false;
    }
    if (terminal >= 0)
        close (terminal);
    *result = good ? password : NULL;
    return good;
}
