#include <string.h>

#include "cli.h"
#include "json_out.h"

static void print_json(const pv_runtime *runtime)
{
    cli_json json = cli_json_start("devices");
    cli_json_name(&json, "devices");
    cli_json_open(&json, '[');
    for (size_t i = 0; i < pv_device_count(runtime); i++) {
        pv_device_info info;
        if (pv_device_get_info(runtime, i, &info, NULL) != PV_OK) continue;
        cli_json_open(&json, '{');
        cli_json_text_member(&json, "id", info.id);
        cli_json_text_member(&json, "name", info.name);
        cli_json_text_member(&json, "kernels", info.kernels);
        cli_json_name(&json, "available");
        cli_json_bool(&json, info.available);
        cli_json_text_member(&json, "reason", info.reason);
        cli_json_uint_member(&json, "memory_total", info.memory_total);
        cli_json_uint_member(&json, "memory_usable", info.memory_usable);
        cli_json_uint_member(&json, "threads", info.threads);
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    cli_json_print(&json);
}

static void print_text(const pv_runtime *runtime)
{
    for (size_t i = 0; i < pv_device_count(runtime); i++) {
        pv_device_info info;
        if (pv_device_get_info(runtime, i, &info, NULL) != PV_OK) continue;
        cli_printf("%-8s %s\n", info.id, info.name);
        if (!info.available) {
            cli_printf("         not available: %s\n", info.reason);
            continue;
        }
        cli_printf("         kernels %s, memory %s, %s usable", info.kernels, cli_bytes_text(info.memory_total),
                   cli_bytes_text(info.memory_usable));
        if (info.threads > 0) cli_printf(", %u thread%s", info.threads, info.threads == 1 ? "" : "s");
        cli_print("\n", 1);
    }
}

int cli_devices(const cli_settings *settings)
{
    pv_error error;
    pv_runtime *runtime;
    if (cli_runtime(settings, settings->threads, NULL, &runtime, &error) != PV_OK) return cli_fail(settings, "devices", &error);
    if (settings->json)
        print_json(runtime);
    else
        print_text(runtime);
    pv_runtime_destroy(runtime);
    return CLI_DONE;
}
