#include <errno.h>
#include <string.h>

#include "cli.h"

/* One row for each pv_status, in its order. */
static const int exit_codes[] = {
    [PV_OK] = CLI_DONE,
    [PV_INVALID_ARGUMENT] = CLI_USAGE,
    [PV_OUT_OF_MEMORY] = CLI_MEMORY,
    [PV_DOES_NOT_FIT] = CLI_MEMORY,
    [PV_IO] = CLI_FAILURE,
    [PV_NOT_FOUND] = CLI_ENVIRONMENT,
    [PV_BAD_FILE] = CLI_REFUSED,
    [PV_UNSUPPORTED] = CLI_REFUSED,
    [PV_BAD_TEMPLATE] = CLI_REFUSED,
    [PV_CONTEXT_FULL] = CLI_MEMORY,
    [PV_CANCELLED] = CLI_INTERRUPTED,
    [PV_TIMEOUT] = CLI_FAILURE,
    [PV_BUSY] = CLI_FAILURE,
    [PV_DEVICE_OUT_OF_MEMORY] = CLI_MEMORY,
    [PV_DEVICE_TRANSIENT] = CLI_FAILURE,
    [PV_DEVICE_LOST] = CLI_FAILURE,
    [PV_PROGRAM] = CLI_FAILURE,
    [PV_NON_FINITE] = CLI_FAILURE,
    [PV_INTERNAL] = CLI_FAILURE,
};

_Static_assert(CLI_COUNT(exit_codes) == PV_STATUS_COUNT, "every status has an exit code");

/* The system's refusals differ: what a person can only fix outside of the command is the environment's. */
static const int environment_errnos[] = {EACCES, EPERM, EROFS, EISDIR, ENXIO};

/* What is missing may be a tensor: then the file is there, and refused. */
static bool names_tensor(const char *op)
{
    static const char *const ends[] = {".weight", ".bias"};
    size_t length = strlen(op);
    for (size_t i = 0; i < CLI_COUNT(ends); i++)
        if (length > strlen(ends[i]) && strcmp(op + length - strlen(ends[i]), ends[i]) == 0) return true;
    return false;
}

int cli_exit_code(const pv_error *error)
{
    if (error->status == PV_NOT_FOUND && names_tensor(error->op)) return CLI_REFUSED;
    if (error->status == PV_IO)
        for (size_t i = 0; i < CLI_COUNT(environment_errnos); i++)
            if (error->backend_code == environment_errnos[i]) return CLI_ENVIRONMENT;
    return (unsigned)error->status < PV_STATUS_COUNT ? exit_codes[error->status] : CLI_FAILURE;
}
