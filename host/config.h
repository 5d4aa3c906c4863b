/* host/config.h: config.json. Internal. */
#ifndef LM_CONFIG_H
#define LM_CONFIG_H

#include "litemamba/litemamba.h"

/* Reads `folder`/config.json (names and layout: README, "Files") and completes it. Unknown keys are ignored; wrong types, ranges,
 * duplicate keys and missing "variant" or "conv_dilations" are refused with a line that names the file and says what to add. */
lm_status lm_config_read(const char *folder, lm_config *config);

/* Writes `folder`/config.json for a completed configuration. */
lm_status lm_config_write(const char *folder, const lm_config *config);

#endif
