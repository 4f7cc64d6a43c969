/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside src/target/ only: how each kind of step in the undo list is undone (or, as trash, taken out).
 *
 * Each gives true where nothing of the step is left, also because what lies there now is not ours: then REMOVED says
 * so.
 */
#pragma once
#include "target/undo.h"

bool vmf_undo_file (const struct vmf_undo_step *step, GPtrArray *removed, GError **error);
bool vmf_undo_dir (const struct vmf_undo_step *step, GPtrArray *removed, GError **error);
bool vmf_undo_renamed (const struct vmf_undo_step *step, GPtrArray *removed, GError **error);
bool vmf_undo_volume (const struct vmf_undo_step *step, GPtrArray *removed, GError **error);
bool vmf_undo_domain (const struct vmf_undo_step *step, GPtrArray *removed, GError **error);
bool vmf_undo_undefined (const struct vmf_undo_step *step, GPtrArray *removed, GError **error);
