#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json_out.h"

typedef struct report {
    const cli_settings *settings;
    cli_json json;
} report;

static void show(void *user, const pv_tuned *tuned)
{
    report *r = user;
    if (!r->settings->json) {
        cli_printf("%s  %-12s %9.3f ms%s\n", tuned->name, tuned->variant, 1e3 * tuned->seconds, tuned->chosen ? "  chosen" : "");
        return;
    }
    cli_json_open(&r->json, '{');
    cli_json_text_member(&r->json, "name", tuned->name);
    cli_json_text_member(&r->json, "variant", tuned->variant);
    cli_json_number_member(&r->json, "seconds", tuned->seconds);
    cli_json_name(&r->json, "chosen");
    cli_json_bool(&r->json, tuned->chosen);
    cli_json_close(&r->json, '}');
}

int cli_tune(const cli_settings *settings)
{
    pv_error error;
    pv_runtime *runtime = NULL;
    const char *device = NULL;
    report r = {.settings = settings, .json = cli_json_start("tune")};
    const pv_tune_options options = {.size = settings->size, .report = show, .user = &r};
    cli_json_name(&r.json, "measured");
    cli_json_open(&r.json, '[');
    pv_status status = cli_device(settings, &device, &error);
    if (status == PV_OK) status = cli_runtime(settings, settings->threads, NULL, &runtime, &error);
    if (status == PV_OK) status = pv_device_tune(runtime, device, &options, &error);
    pv_runtime_destroy(runtime);
    cli_json_close(&r.json, ']');
    if (status == PV_OK && settings->json)
        cli_json_print(&r.json);
    else
        free(r.json.text.data);
    if (status == PV_OK && !settings->json) cli_say("the choice is kept in %s/programs", cli_environment_cache());
    if (status == PV_OK) return CLI_DONE;
    int code = cli_fail(settings, "tune", &error);
    return status == PV_UNSUPPORTED ? CLI_ENVIRONMENT : code; /* no model is refused: a device is missing */
}
