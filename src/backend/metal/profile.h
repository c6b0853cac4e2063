/* What the device says of its work, for who listens (pv_runtime_options.trace): when each command buffer began and ended and,
 * where it samples its clock, each op or each dispatch, with the threads that it counted. Ops then have an encoder each, so a
 * step takes longer than it would unheard. The ops' names stand in captures and in Instruments, too; there the host's part is
 * seen as signposts. */
#ifndef PV_METAL_PROFILE_H
#define PV_METAL_PROFILE_H

#include "backend/metal/prepare.h"
#include "backend/metal/signpost.h"

/* Nothing to be heard is no failure: device->profile stays NULL. Errors: PV_OUT_OF_MEMORY. */
pv_status pv_metal_profile_create(pv_metal_device *device, pv_error *error);
void pv_metal_profile_destroy(pv_metal_device *device);
/* NULL if nobody listens. */
const pv_signposts *pv_metal_profile_signposts(const pv_metal_device *device);

/* A submission of so many rows begins. */
void pv_metal_profile_begin(pv_metal_device *device, uint32_t slot, uint32_t rows);
/* The encoder of an op; NULL if there is no memory. Its group is closed by pv_metal_profile_end_op. */
pv_id pv_metal_profile_encoder(pv_metal_device *device, uint32_t slot, pv_id command_buffer, const pv_op *op, pv_cost cost);
/* Another encoder of the op, after somebody else encoded some of it; the op's time is then not known. */
pv_id pv_metal_profile_go_on(pv_metal_device *device, uint32_t slot, pv_id command_buffer);
/* Around each of the op's dispatches. */
void pv_metal_profile_dispatch(pv_metal_device *device, uint32_t slot, pv_id encoder, const char *kernel);
void pv_metal_profile_dispatched(pv_metal_device *device, uint32_t slot, pv_id encoder);
void pv_metal_profile_end_op(pv_metal_device *device, pv_id encoder);
/* A command buffer that is about to be committed. */
void pv_metal_profile_add(pv_metal_device *device, uint32_t slot, pv_id command_buffer);
/* All of the submission is. */
void pv_metal_profile_encoded(pv_metal_device *device, uint32_t slot);
/* The submission has ended; `good`: and nothing of it failed, so it is told. */
void pv_metal_profile_end(pv_metal_device *device, uint32_t slot, bool good);

#endif
