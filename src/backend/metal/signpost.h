/* Intervals that Instruments shows on the host's side (os_signpost), where the system has them: found by name at run time,
 * elsewhere nothing happens. Any thread. */
#ifndef PV_METAL_SIGNPOST_H
#define PV_METAL_SIGNPOST_H

#include <stdbool.h>
#include <stdint.h>

typedef enum pv_signpost {
    PV_SIGNPOST_PREPARE, /* a plan becomes records; programs are compiled */
    PV_SIGNPOST_ENCODE,  /* a step becomes command buffers */
    PV_SIGNPOST_STEP,    /* from there to its end on the device */
    PV_SIGNPOSTS
} pv_signpost;

typedef struct pv_signposts {
    void *log; /* NULL: there are none */
    void *image;
    bool (*enabled)(void *log);
    uint64_t (*generate)(void *log);
    void (*emit)(void *image, void *log, uint8_t type, uint64_t id, const char *name, const char *format, uint8_t *arguments,
                 uint32_t bytes);
} pv_signposts;

void pv_signposts_open(pv_signposts *signposts);
/* Begins an interval and says this about it. 0: nobody looks; `signposts` may be NULL. */
uint64_t pv_signpost_begin(const pv_signposts *signposts, pv_signpost what, const char *text);
/* Ends it; with 0 nothing happens. */
void pv_signpost_end(const pv_signposts *signposts, pv_signpost what, uint64_t id);

#endif
