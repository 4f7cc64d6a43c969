/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vmferry doctor`: what this host has and lacks (A10, A14). */
#pragma once

/* ARGV[0] is "doctor". 0: all that is required is there; 1: not; 2: wrong usage. */
int vmf_cmd_doctor (int argc, char **argv);
