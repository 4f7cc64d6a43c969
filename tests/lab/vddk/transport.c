/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the double loads by name, as VDDK does its transports: it is found by LD_LIBRARY_PATH or not at all. */
int vix_double_transport (void);

int
vix_double_transport (void)
{
    return 1;
}
