/* What has ended, of a device's submissions, and what must live until it has.
 *
 * The driver calls a block when a command buffer has ended, on a thread of its own, and lets go of the block when it likes,
 * perhaps after the device was closed. So the watch is counted: the device holds it, and each block does; the last one frees
 * it, and with it what a hung device might still have touched. */
#ifndef PV_METAL_WATCH_H
#define PV_METAL_WATCH_H

#include "backend/metal/objc.h"

#define PV_METAL_QUEUE 8 /* submissions that may be under way; each has a slot */

typedef struct pv_metal_watch pv_metal_watch;

/* NULL: no memory. */
pv_metal_watch *pv_metal_watch_create(const pv_objc *objc);
/* The device lets go of it. */
void pv_metal_watch_drop(pv_metal_watch *watch);
/* One more command buffer of this slot, not committed yet. */
void pv_metal_watch_add(pv_metal_watch *watch, uint32_t slot, pv_id command_buffer);
/* False if something of the slot still runs when the time is over; UINT32_MAX: there is no such time. */
bool pv_metal_watch_wait(pv_metal_watch *watch, uint32_t slot, uint32_t timeout_ms);
/* The first command buffer of a slot that failed, once all have ended; NULL: none did. Lives until the slot is cleared. */
pv_id pv_metal_watch_failed(const pv_metal_watch *watch, uint32_t slot);
/* An object that the slot's command buffers may use: takes over the caller's reference. */
void pv_metal_watch_keep(pv_metal_watch *watch, uint32_t slot, pv_id object);
/* The slot has ended: what was kept for it is released. */
void pv_metal_watch_clear(pv_metal_watch *watch, uint32_t slot);

#endif
