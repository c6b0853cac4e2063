/* Running a compiler: no shell, output captured, a time limit. */
#ifndef SOFTMETAL_MSL_PROCESS_H
#define SOFTMETAL_MSL_PROCESS_H

#include "msl/text.h"

typedef enum sm_process_end {
    SM_PROCESS_EXITED,
    SM_PROCESS_SIGNALLED,
    SM_PROCESS_TIMED_OUT,
    SM_PROCESS_NOT_STARTED
} sm_process_end;

typedef struct sm_process_result {
    sm_process_end end;
    int code;       /* exit status, signal, or errno */
    sm_text output; /* of both streams; at most a few MiB, the rest is dropped */
} sm_process_result;

/* argv[0] is a path. `directory` is its working directory and its TMPDIR. The caller frees result->output. */
void sm_process_run(const char *const *argv, const char *directory, unsigned seconds, sm_process_result *result);

#endif
