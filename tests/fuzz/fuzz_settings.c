/* settings_parse: any text is read or refused with a reason, and what was read is in range. */

#include <stdlib.h>

#include "hsmkms/base/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static void demand_ranges(const struct settings *settings)
{
#define SETTING_TEXT(section, name, preset, help) demand(settings->section##_##name != NULL);
#define SETTING_INT(section, name, unit, min, max, preset, help)                                   \
    demand(settings->section##_##name >= (min) && settings->section##_##name <= (max));
#define SETTING_BOOL(section, name, preset, help)
#include "hsmkms/base/settings.def"
#undef SETTING_TEXT
#undef SETTING_INT
#undef SETTING_BOOL
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(settings) settings = { 0 };
    struct kms_error err = { 0 };

    if (settings_parse(span_of(data, size), &settings, &err) == 0)
        demand_ranges(&settings);
    else
        demand(err.code != KMS_ERR_NONE && err.message[0] != '\0');
    return 0;
}
